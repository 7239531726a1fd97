#include "coordinator/guard/pinned_authorities.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/x509.h"

namespace tributary::coordinator {

absl::Status PinnedAuthorities::Replace(const std::vector<Pin>& pins) {
  std::string pem;
  std::map<std::string, std::set<std::string>> ids_by_issuer;
  std::set<std::string> pinned_ids;
  for (const Pin& pin : pins) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::string text, ReadPem(pin.ca));
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> certificates, ParseCertificates(text, pin.ca));
    for (const X509Ptr& certificate : certificates) {
      if (X509_check_ca(certificate.get()) == 0) {
        return CredentialsError(absl::StrCat(pin.ca, " is not a CA's certificate, but ", DescribeCertificate(*certificate),
                                             "; `authorities` names the CA that issues such certificates"));
      }
      ids_by_issuer[KeyFingerprintOf(*certificate)].insert(pin.ids.begin(), pin.ids.end());
    }
    absl::StrAppend(&pem, text, "\n");
    pinned_ids.insert(pin.ids.begin(), pin.ids.end());
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  pem_ = std::move(pem);
  ids_by_issuer_ = std::move(ids_by_issuer);
  pinned_ids_ = std::move(pinned_ids);
  own_ = nullptr;
  return absl::OkStatus();
}

absl::Status PinnedAuthorities::MaySpeak(const std::vector<std::string>& issuers, const std::string& id) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const std::string& issuer : issuers) {
    if (const auto found = ids_by_issuer_.find(issuer); found != ids_by_issuer_.end()) {
      return found->second.contains(id) ? absl::OkStatus()
                                        : absl::PermissionDeniedError(absl::StrCat(
                                              "the CA that issued the certificate of ", id,
                                              " may not speak for it: `authorities` in coordinator.yaml pins that CA to others"));
    }
  }
  return pinned_ids_.contains(id)
             ? absl::PermissionDeniedError(absl::StrCat("only the CA that `authorities` in coordinator.yaml pins to ", id,
                                                        " may speak for it, and another issued this certificate; get one from that CA"))
             : absl::OkStatus();
}

CertificateSource PinnedAuthorities::Widened(CertificateSource own) {
  return [this, own = std::move(own)] {
    std::shared_ptr<const CertificatePair> pair = own();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (pem_.empty()) {
      return pair;
    }
    if (pair != own_) {
      auto widened = std::make_shared<CertificatePair>(*pair);
      absl::StrAppend(&widened->ca, "\n", pem_);
      own_ = std::move(pair);
      widened_ = std::move(widened);
    }
    return widened_;
  };
}

}  // namespace tributary::coordinator
