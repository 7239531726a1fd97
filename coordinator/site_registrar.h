// What operators do to the registry of sites, and what their tokens are good for.
#ifndef TRIBUTARY_COORDINATOR_SITE_REGISTRAR_H_
#define TRIBUTARY_COORDINATOR_SITE_REGISTRAR_H_

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/enrolment_token.h"
#include "coordinator/journal/journal.h"
#include "coordinator/run/operator_act.h"
#include "coordinator/site_registry.h"
#include "tributary/v1/admin.pb.h"
#include "tributary/v1/enrolment.pb.h"

namespace tributary::coordinator {

// Whether one operator can let a site in alone.
enum class Approval { kNone, kByAnother };

// Not thread-safe: on the coordinator's executor, as the journal is. Every act is durable before it is answered, and in the registry from
// then on.
class SiteRegistrar {
 public:
  struct Dependencies {
    const Clock* clock = nullptr;
    Journal* journal = nullptr;
    SiteRegistry* registry = nullptr;
    Approval approval = Approval::kNone;
    // Called after an act that may have let a site in or thrown one out.
    std::function<void()> changed;
  };
  static constexpr absl::Duration kTokenLifetime = absl::Hours(24);
  static constexpr absl::Duration kLongestTokenLifetime = absl::Hours(24 * 30);

  // Puts what the journal knows into the registry. Errors of reading the journal. All of `dependencies` must outlive it.
  static absl::StatusOr<std::unique_ptr<SiteRegistrar>> Open(Dependencies dependencies);

  // Every site there is; nobody is said to be connected.
  v1::ListSitesResponse List() const;
  // The errors of AdminService.ChangeSite.
  absl::StatusOr<v1::Site> Change(const std::string& name, v1::ChangeSiteRequest::Act act, const OperatorAct& by);
  // In place of the token that was there. The site gets its certificate with `token`, whose hash is kept, for the time `valid` (0: a day).
  // The errors of AdminService.IssueSiteToken. Returns when it expires.
  absl::StatusOr<absl::Time> IssueToken(const std::string& name, const EnrolmentToken& token, absl::Duration valid, const OperatorAct& by);

  // What the holder of a token is to get.
  enum class Grant { kCertificate, kAwaitsApproval };
  struct Redeemed {
    std::string site;
    Grant grant = Grant::kAwaitsApproval;
  };
  // Binds the token to the key, if none was shown with it before. `site`: whom the caller takes itself for; empty: it does not know.
  // PermissionDenied: the token is unknown, expired, of another site, was used with another key, or the site may not come in.
  absl::StatusOr<Redeemed> Redeem(const std::string& secret, const std::string& site, const std::string& key_fingerprint);
  // Of a site that may come in: certificates must not begin earlier.
  absl::Time CertificatesSince(const std::string& site) const;
  // Whether one was issued here since it was let in.
  bool HasCertificate(const std::string& site) const;
  // Notes until when the site's newest certificate is valid.
  absl::Status NoteCertificate(const std::string& site, absl::Time expires);

 private:
  explicit SiteRegistrar(Dependencies dependencies) : deps_(std::move(dependencies)) {}
  // FailedPrecondition: the journal has no place for sites.
  absl::Status CheckJournal() const;
  // Writes down what Find gave and the caller changed, but not its standing.
  absl::Status PutAsItStands(v1::SiteRecord record, const SiteAct& act);
  absl::Status Put(const v1::SiteRecord& record, const SiteAct& act);
  absl::Status Approve(const OperatorAct& by, v1::SiteRecord& record) const;
  // What the record is to say of a site that belongs.
  v1::SiteRecord::Standing LetIn(const std::string& name) const;
  v1::Site Shown(const v1::SiteRecord& record) const;
  bool IsTokenAlive(const v1::SiteRecord& record) const;

  const Dependencies deps_;
  std::set<std::string> alarmed_;  // hashes of tokens of which it is recorded that another key was shown with them
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_SITE_REGISTRAR_H_
