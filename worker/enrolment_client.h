// The calls with which a site gets its certificates.
#ifndef TRIBUTARY_WORKER_ENROLMENT_CLIENT_H_
#define TRIBUTARY_WORKER_ENROLMENT_CLIENT_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/pinned_ca.h"
#include "common/proxy.h"
#include "common/tls.h"
#include "tributary/v1/enrolment.pb.h"

namespace tributary::worker {

// Both block for some seconds at most. Errors are the coordinator's own, or say why it was not reached.

// At the coordinator's `enrol_listen`, which must prove to be `coordinator`.
absl::StatusOr<v1::EnrolResponse> CallEnrol(const std::string& address, const Route& route, const PinnedCoordinator& coordinator,
                                            const v1::EnrolRequest& request);

// At the coordinator's `listen`, with the certificate that `own` is.
absl::StatusOr<v1::IssuedCertificate> CallRenew(const std::string& address, const Route& route, const CertificatePair& own,
                                                const std::string& csr);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_ENROLMENT_CLIENT_H_
