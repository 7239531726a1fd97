// Which CA may speak for whom: a hospital's own CA for that hospital, and for nobody else.
#ifndef TRIBUTARY_COORDINATOR_GUARD_PINNED_AUTHORITIES_H_
#define TRIBUTARY_COORDINATOR_GUARD_PINNED_AUTHORITIES_H_

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/tls.h"

namespace tributary::coordinator {

// A CA that is pinned speaks for those it is pinned to, alone; those that some CA is pinned to are spoken for by no other. Everybody else
// belongs to the CA that is trusted anyway (tls.ca). Thread-safe.
class PinnedAuthorities {
 public:
  struct Pin {
    std::string ca;             // path of a PEM file: the CA's certificate, or several of its
    std::set<std::string> ids;  // SPIFFE ids
  };

  // From now on these, as their files are at this moment. Unauthenticated with exit code kCredentials: a file cannot be read, or has no
  // CA's certificate in it; what was in force stays.
  absl::Status Replace(const std::vector<Pin>& pins);

  // `issuers`: KeyFingerprintOf each certificate above the peer's own in the chain that was verified, nearest first. PermissionDenied: they
  // may not speak for `id`; the message says what to change.
  absl::Status MaySpeak(const std::vector<std::string>& issuers, const std::string& id) const;

  // `own`, with the pinned CAs among those it trusts. This object must outlive the source.
  CertificateSource Widened(CertificateSource own);

 private:
  mutable std::mutex mutex_;
  // All under mutex_.
  std::string pem_;
  std::map<std::string, std::set<std::string>> ids_by_issuer_;
  std::set<std::string> pinned_ids_;
  std::shared_ptr<const CertificatePair> own_;  // that widened_ was made from
  std::shared_ptr<const CertificatePair> widened_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_PINNED_AUTHORITIES_H_
