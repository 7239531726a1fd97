// A small certificate authority for local use, trials and tests, on OpenSSL 3. Institutions bring their own PKI.
#ifndef TRIBUTARY_COMMON_PKI_H_
#define TRIBUTARY_COMMON_PKI_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/tls.h"

namespace tributary {

// Makes ca.crt and ca.key (mode 0600, ECDSA P-256) in `directory`. AlreadyExists: there is a CA there; it is never overwritten.
absl::Status InitCa(const std::string& directory, const std::string& federation, absl::Duration validity);

struct CertificateRequest {
  Identity identity;
  // DNS names (also *.example.org) and IP addresses a coordinator is reached at; others need none.
  std::vector<std::string> hosts;
  absl::Duration validity = absl::Hours(24 * 30);
  // Start of validity before now, for clocks that are off (negative validity makes an expired certificate for tests).
  absl::Duration backdate = absl::Minutes(5);
};

// Issues <stem>.crt and <stem>.key (mode 0600) in `directory` from the CA there; stem is "coordinator", "site-NAME" or "operator-NAME".
absl::Status IssueCertificate(const std::string& directory, const CertificateRequest& request);

// What a certificate file says.
struct CertificateInfo {
  std::string subject;
  std::string spiffe_id;  // empty if it has none or several
  absl::Time not_before;
  absl::Time not_after;
};
absl::StatusOr<CertificateInfo> ReadCertificate(const std::string& path);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_PKI_H_
