#include "coordinator/enrolment.h"

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/csr.h"
#include "common/enrolment_token.h"
#include "common/files.h"
#include "common/log.h"
#include "common/pinned_ca.h"
#include "common/status_macros.h"
#include "common/x509.h"
#include "proto/durations.h"

namespace tributary::coordinator {
namespace {

// Of one site: an honest one asks once in weeks.
constexpr absl::Duration kBetweenCertificates = absl::Seconds(10);
// How soon a caller that awaits approval should ask again.
constexpr uint32_t kAskAgainMillis = 5000;

}  // namespace

absl::StatusOr<std::unique_ptr<Enrolment>> Enrolment::Open(const v1::CoordinatorConfig& config, CertificateSource certificates,
                                                           const Clock* clock, SiteRegistrar* registrar) {
  auto enrolment = absl::WrapUnique(new Enrolment(config, std::move(certificates), clock, registrar));
  if (!config.has_enrolment() || enrolment->certificates_ == nullptr) {
    return enrolment;
  }
  const std::string& file = config.enrolment().ca_certificate();
  TRIBUTARY_ASSIGN_OR_RETURN(enrolment->ca_, CertificateAuthority::Load(file, config.enrolment().ca_key()));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string chain, ReadPem(file));
  TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckVouchedFor(chain, file, enrolment->certificates_()->ca),
                                     "enrolment: certificates of this CA would not be accepted by the coordinator's own `tls.ca`"));
  if (const std::string exposure = KeyExposure(config.enrolment().ca_key()); !exposure.empty()) {
    LogWarning("enrolment", exposure);
  }
  return enrolment;
}

absl::Status Enrolment::CheckIssues() const {
  return issues() ? absl::OkStatus()
                  : absl::FailedPreconditionError(
                        "this coordinator issues no certificates (`enrolment` in coordinator.yaml); whoever runs the federation's CA does");
}

absl::StatusOr<v1::SiteToken> Enrolment::MakeToken(const std::string& site, absl::Duration valid, const OperatorAct& by) {
  TRIBUTARY_RETURN_IF_ERROR(CheckIssues());
  TRIBUTARY_ASSIGN_OR_RETURN(const Digest anchor, AnchorFingerprint(*certificates_()));
  TRIBUTARY_ASSIGN_OR_RETURN(const EnrolmentToken token, MakeEnrolmentToken(anchor));
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::Time expires, registrar_->IssueToken(site, token, valid, by));
  v1::SiteToken made;
  made.set_token(FormatToken(token));
  made.set_expires_unix_ms(absl::ToUnixMillis(expires));
  return made;
}

absl::StatusOr<v1::EnrolResponse> Enrolment::Enrol(const v1::EnrolRequest& request) {
  TRIBUTARY_RETURN_IF_ERROR(CheckIssues());
  TRIBUTARY_ASSIGN_OR_RETURN(const KeyPtr key, KeyOfCsr(request.csr()));
  v1::EnrolResponse response;
  TRIBUTARY_ASSIGN_OR_RETURN(*response.mutable_key_fingerprint(), KeyFingerprint(*key));
  TRIBUTARY_ASSIGN_OR_RETURN(const SiteRegistrar::Redeemed redeemed,
                             registrar_->Redeem(request.secret(), request.site(), response.key_fingerprint()));
  response.set_site(redeemed.site);
  if (redeemed.grant == SiteRegistrar::Grant::kAwaitsApproval) {
    response.set_ask_again_ms(kAskAgainMillis);
    return response;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(*response.mutable_issued(), Issue(redeemed.site, request.csr()));
  LogInfo("enrolment", "a certificate for the token, over the key ", response.key_fingerprint(), LogField("site", redeemed.site));
  return response;
}

absl::StatusOr<v1::IssuedCertificate> Enrolment::Renew(const std::string& site, const std::string& csr) {
  TRIBUTARY_RETURN_IF_ERROR(CheckIssues());
  if (!registrar_->HasCertificate(site)) {
    return absl::FailedPreconditionError("the certificate of this site was not issued here; whoever issued it renews it");
  }
  TRIBUTARY_ASSIGN_OR_RETURN(v1::IssuedCertificate issued, Issue(site, csr));
  LogInfo("enrolment", "renewed the certificate", LogField("site", site));
  return issued;
}

absl::StatusOr<v1::IssuedCertificate> Enrolment::Issue(const std::string& site, const std::string& csr) {
  const absl::Time now = clock_->Now();
  if (const auto last = issued_at_.find(site); last != issued_at_.end() && now - last->second < kBetweenCertificates) {
    return absl::ResourceExhaustedError("this site has just got a certificate; ask again in a while");
  }
  const absl::Duration lifetime = DurationOf(config_.enrolment().lifetime());
  v1::IssuedCertificate issued;
  TRIBUTARY_ASSIGN_OR_RETURN(*issued.mutable_certificate(), ca_->Sign(csr, {.identity = {config_.federation(), Role::kSite, site},
                                                                            .hosts = {},
                                                                            .validity = lifetime,
                                                                            .not_before = registrar_->CertificatesSince(site)}));
  issued.set_ca(certificates_()->ca);
  issued_at_[site] = now;
  TRIBUTARY_RETURN_IF_ERROR(registrar_->NoteCertificate(site, clock_->WallNow() + lifetime));
  return issued;
}

}  // namespace tributary::coordinator
