// What sites signed, as the audit log holds it (proto/audit/signed_update.h): checked offline, with the CA alone.
#ifndef TRIBUTARY_CLI_AUDIT_SIGNATURES_H_
#define TRIBUTARY_CLI_AUDIT_SIGNATURES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/tls.h"
#include "tributary/v1/audit.pb.h"

namespace tributary::cli {

// Looks at records in their order. Not thread-safe.
class AuditSignatures {
 public:
  // `ca` (PEM): who may have issued sites' certificates.
  AuditSignatures(std::string federation, std::string ca) : federation_(std::move(federation)), ca_(std::move(ca)) {}

  // Unauthenticated, exit code kCredentials: the record says of a site what the site did not sign, or comes with a certificate that the CA
  // did not accept then. Records without a signature are counted, and nothing is said of them.
  absl::Status Check(const v1::AuditRecord& record);

  uint64_t good() const { return good_; }
  // Updates in sums that their sites did not sign.
  uint64_t without() const { return without_; }
  // Updates that sites signed besides the one that counts.
  uint64_t conflicting() const { return conflicting_; }

 private:
  struct Signer {
    std::string site;
    std::string certificate;  // DER
    Validity validity;
  };

  absl::Status Learn(const v1::AuditRecord::SiteCertificate& certificate, absl::Time at);
  absl::Status CheckClaim(const v1::AuditRecord::SignedUpdate& claim, absl::string_view payload_sha256, const std::string& site,
                          const std::string& run_id, uint64_t round, absl::Time at) const;

  std::string federation_;
  std::string ca_;
  std::map<std::string, Signer> signers_;  // by the SHA-256 of the certificate
  uint64_t good_ = 0;
  uint64_t without_ = 0;
  uint64_t conflicting_ = 0;
};

// The certificates by which the record's signature is checked, from the records before it; empty: it has none.
std::vector<std::string> CertificatesFor(const std::vector<std::string>& records, uint64_t index);

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_AUDIT_SIGNATURES_H_
