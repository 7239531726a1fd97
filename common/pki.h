// A small certificate authority for local use, trials and tests, on OpenSSL 3. Institutions bring their own PKI.
#ifndef TRIBUTARY_COMMON_PKI_H_
#define TRIBUTARY_COMMON_PKI_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/tls.h"
#include "common/x509.h"

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
  // But not before this.
  absl::Time not_before = absl::InfinitePast();
};

// The name of an identity's files without what follows the dot: "coordinator", "site-NAME", "operator-NAME" or "auditor-NAME".
// InvalidArgument: no name that can be.
absl::StatusOr<std::string> CertificateStem(const Identity& identity);

// Certificates from a CA's own certificate and key. What they say is the caller's alone. Thread-safe.
class CertificateAuthority {
 public:
  // PEM; intermediates up to a CA that people trust may follow the CA's certificate in its file. Unauthenticated, exit code kCredentials:
  // not a CA, or not its key.
  static absl::StatusOr<std::shared_ptr<const CertificateAuthority>> Load(const std::string& certificate_file, const std::string& key_file);

  // That its certificate names, as those of InitCa do; empty: none, and it signs for any.
  std::string federation() const;

  // A certificate over the key of the request `csr`, PEM, followed by what leads from it to a root. Nothing that the request says of
  // itself is in it. InvalidArgument: KeyOfCsr's errors; another federation's CA; a host that no certificate names. Unauthenticated, exit
  // code kCredentials: the CA has expired.
  absl::StatusOr<std::string> Sign(absl::string_view csr, const CertificateRequest& request) const;
  // The same over a key of which nobody needs a proof.
  absl::StatusOr<std::string> Certify(EVP_PKEY& key, const CertificateRequest& request) const;

 private:
  CertificateAuthority(std::string name, X509Ptr certificate, KeyPtr key, std::string intermediates)
      : name_(std::move(name)), certificate_(std::move(certificate)), key_(std::move(key)), intermediates_(std::move(intermediates)) {}

  const std::string name_;  // its file's
  const X509Ptr certificate_;
  const KeyPtr key_;
  const std::string intermediates_;  // PEM; empty: it is a root
};

// Makes <stem>.key (mode 0600) and <stem>.csr, a request for a certificate over it, in `directory`, which is made if need be.
absl::Status RequestCertificate(const std::string& directory, const Identity& identity);

// Issues <stem>.crt and <stem>.key (mode 0600) in `directory` from the CA there.
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
