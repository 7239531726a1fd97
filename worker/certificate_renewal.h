// Has a worker's certificate renewed before it ends, where its coordinator issues them.
#ifndef TRIBUTARY_WORKER_CERTIFICATE_RENEWAL_H_
#define TRIBUTARY_WORKER_CERTIFICATE_RENEWAL_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/certificate_files.h"
#include "common/clock.h"
#include "common/executor.h"
#include "common/rare_line.h"
#include "common/tls.h"
#include "tributary/v1/enrolment.pb.h"

namespace tributary::worker {

// After two thirds of its lifetime, or up to a twelfth of it later: `jitter` in [0, 1) spreads sites that enrolled together.
absl::Time RenewalTime(const Validity& validity, double jitter);

// Asks for a certificate with the one at hand.
using RenewCall = std::function<absl::StatusOr<v1::IssuedCertificate>(const CertificatePair& own, const std::string& csr)>;

// Asks for another certificate over the key that is in use, checks it, and puts it in the place of the one in `files`, at once: whoever
// follows the files takes it up. The CA that is trusted stays. Errors of `call`; Unauthenticated, exit code kCredentials: what came is not
// a certificate for `owner` and this key; errors of writing.
absl::Status RenewCertificate(const CertificateFiles& files, const Identity& owner, const RenewCall& call);

class CertificateRenewal {
 public:
  struct Options {
    std::shared_ptr<CertificateFiles> files;
    Identity owner;
    RenewCall call;
    double jitter = 0;
    Clock* clock = &Clock::Real();
  };

  // Looks at once, and then as often as it may be time, on a thread of its own.
  explicit CertificateRenewal(Options options);
  // Waits for a call under way.
  ~CertificateRenewal() { thread_.Stop(); }

 private:
  void Look();

  const Options options_;
  RareLine problems_;  // on the thread
  SerialExecutor thread_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_CERTIFICATE_RENEWAL_H_
