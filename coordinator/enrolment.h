// Gives sites their certificates: the first for a token, the next for the one before.
#ifndef TRIBUTARY_COORDINATOR_ENROLMENT_H_
#define TRIBUTARY_COORDINATOR_ENROLMENT_H_

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/pki.h"
#include "common/tls.h"
#include "coordinator/run/operator_act.h"
#include "coordinator/site_registrar.h"
#include "tributary/v1/admin.pb.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/enrolment.pb.h"

namespace tributary::coordinator {

// Not thread-safe: on the coordinator's executor.
class Enrolment {
 public:
  // Without config.enrolment it issues nothing, and says so. `certificates`: what the coordinator presents and trusts; null in plaintext.
  // `clock` and `registrar` must outlive it. Unauthenticated, exit code kCredentials: no CA's files, or not one that the coordinator itself
  // trusts.
  static absl::StatusOr<std::unique_ptr<Enrolment>> Open(const v1::CoordinatorConfig& config, CertificateSource certificates,
                                                         const Clock* clock, SiteRegistrar* registrar);

  bool issues() const { return ca_ != nullptr; }

  // The errors of AdminService.IssueSiteToken.
  absl::StatusOr<v1::SiteToken> MakeToken(const std::string& site, absl::Duration valid, const OperatorAct& by);
  // The errors of EnrolmentService.Enrol, but for the rate of calls.
  absl::StatusOr<v1::EnrolResponse> Enrol(const v1::EnrolRequest& request);
  // `site`: who calls, as its certificate says. The errors of RenewalService.Renew.
  absl::StatusOr<v1::IssuedCertificate> Renew(const std::string& site, const std::string& csr);

 private:
  Enrolment(const v1::CoordinatorConfig& config, CertificateSource certificates, const Clock* clock, SiteRegistrar* registrar)
      : config_(config), certificates_(std::move(certificates)), clock_(clock), registrar_(registrar) {}
  absl::Status CheckIssues() const;
  absl::StatusOr<v1::IssuedCertificate> Issue(const std::string& site, const std::string& csr);

  const v1::CoordinatorConfig config_;
  const CertificateSource certificates_;
  const Clock* const clock_;
  SiteRegistrar* const registrar_;
  std::shared_ptr<const CertificateAuthority> ca_;  // null: issues nothing
  std::map<std::string, absl::Time> issued_at_;     // by site
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_ENROLMENT_H_
