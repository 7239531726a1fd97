#include "coordinator/site_registrar.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/excerpt.h"
#include "common/names.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

using Standing = v1::SiteRecord::Standing;

// More than any federation has; the registry is in memory, and lists go in one message.
constexpr size_t kMostSites = 4096;

std::string NameOf(Standing standing) {
  return absl::AsciiStrToLower(v1::SiteRecord::Standing_Name(standing));
}

absl::Status Not(const v1::SiteRecord& record, absl::string_view done) {
  return absl::FailedPreconditionError(absl::StrCat("site ", record.name(), " is ", NameOf(record.standing()), ", and cannot be ", done));
}

// "added".
std::string DoneBy(v1::ChangeSiteRequest::Act act) {
  switch (act) {
    case v1::ChangeSiteRequest::ADD:
      return "added";
    case v1::ChangeSiteRequest::APPROVE:
      return "approved";
    case v1::ChangeSiteRequest::SUSPEND:
      return "suspended";
    case v1::ChangeSiteRequest::RESUME:
      return "resumed";
    case v1::ChangeSiteRequest::REVOKE:
      return "revoked";
    default:
      return "";
  }
}

void ForgetToken(v1::SiteRecord& record) {
  record.clear_token_sha256();
  record.clear_token_expires_unix_ms();
  record.clear_token_actor();
  record.clear_key_fingerprint();
  record.clear_key_approved();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SiteRegistrar>> SiteRegistrar::Open(Dependencies dependencies) {
  if (dependencies.journal->KeepsSites()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<v1::SiteRecord> records, dependencies.journal->Sites());
    for (const v1::SiteRecord& record : records) {
      dependencies.registry->Put(record);
    }
  }
  return absl::WrapUnique(new SiteRegistrar(std::move(dependencies)));
}

absl::Status SiteRegistrar::CheckJournal() const {
  return deps_.journal->KeepsSites() ? absl::OkStatus()
                                     : absl::FailedPreconditionError(
                                           "the coordinator's journal is in the format of an earlier release and has no place for sites; "
                                           "stop the coordinator, then "
                                           "`tributary journal upgrade DATA_DIR`");
}

absl::Status SiteRegistrar::Put(const v1::SiteRecord& record, const SiteAct& act) {
  TRIBUTARY_RETURN_IF_ERROR(deps_.journal->PutSite(record, act));
  deps_.registry->Put(record);
  return absl::OkStatus();
}

// What the configuration says of a site must not outlive the configuration.
absl::Status SiteRegistrar::PutAsItStands(v1::SiteRecord record, const SiteAct& act) {
  record.set_standing(deps_.registry->RecordedStanding(record.name()));
  return Put(record, act);
}

bool SiteRegistrar::IsTokenAlive(const v1::SiteRecord& record) const {
  return !record.token_sha256().empty() && absl::ToUnixMillis(deps_.clock->WallNow()) < record.token_expires_unix_ms();
}

v1::SiteRecord::Standing SiteRegistrar::LetIn(const std::string& name) const {
  return deps_.registry->IsConfigured(name) ? v1::SiteRecord::STANDING_UNSPECIFIED : v1::SiteRecord::ACTIVE;
}

v1::Site SiteRegistrar::Shown(const v1::SiteRecord& record) const {
  v1::Site site;
  site.set_name(record.name());
  site.set_standing(record.standing());
  site.set_configured(deps_.registry->IsConfigured(record.name()));
  site.set_actor(record.actor());
  site.set_changed_unix_ms(record.changed_unix_ms());
  site.set_reason(record.reason());
  if (IsTokenAlive(record) && record.key_fingerprint().empty()) {
    site.set_token_expires_unix_ms(record.token_expires_unix_ms());
  }
  if (!record.key_approved()) {
    site.set_key_to_approve(record.key_fingerprint());
  }
  site.set_certificate_expires_unix_ms(record.certificate_expires_unix_ms());
  return site;
}

v1::ListSitesResponse SiteRegistrar::List() const {
  v1::ListSitesResponse response;
  for (const v1::SiteRecord& record : deps_.registry->Records()) {
    *response.add_sites() = Shown(record);
  }
  return response;
}

// Whoever approves has looked at something: at the key that was shown, or at a site that brings a certificate of its own.
absl::Status SiteRegistrar::Approve(const OperatorAct& by, v1::SiteRecord& record) const {
  const bool key_waits = !record.key_fingerprint().empty() && !record.key_approved();
  if (!key_waits && record.standing() != v1::SiteRecord::PENDING) {
    return Not(record, "approved: nothing of it awaits approval");
  }
  if (!key_waits && IsTokenAlive(record)) {
    return absl::FailedPreconditionError(
        absl::StrCat("site ", record.name(), " has a token and has not used it yet; approve it when its key is there to be compared"));
  }
  const std::string& first = key_waits ? record.token_actor() : record.actor();
  if (first == by.operator_name) {
    return absl::FailedPreconditionError(
        absl::StrCat("site ", record.name(), " was brought in by ", first, "; another operator must approve it"));
  }
  record.set_key_approved(key_waits);
  record.set_standing(LetIn(record.name()));
  return absl::OkStatus();
}

absl::StatusOr<v1::Site> SiteRegistrar::Change(const std::string& name, v1::ChangeSiteRequest::Act act, const OperatorAct& by) {
  TRIBUTARY_RETURN_IF_ERROR(CheckJournal());
  if (!IsName(name)) {
    return absl::InvalidArgumentError(absl::StrCat("site '", Excerpt(name), "': use 1 to 63 characters of a-z, 0-9 and inner hyphens"));
  }
  std::optional<v1::SiteRecord> known = deps_.registry->Find(name);
  if (!known.has_value() && act != v1::ChangeSiteRequest::ADD) {
    return absl::NotFoundError(
        absl::StrCat("no site ", name, "; `tributary site list` shows all, `tributary site add ", name, "` adds it"));
  }
  const int64_t now = absl::ToUnixMillis(deps_.clock->WallNow());
  v1::SiteRecord record = known.value_or(v1::SiteRecord());
  record.set_name(name);
  switch (act) {
    case v1::ChangeSiteRequest::ADD:
      if (known.has_value() && record.standing() != v1::SiteRecord::REVOKED) {
        return Not(record, "added: it is there already");
      }
      if (!known.has_value() && deps_.registry->Records().size() >= kMostSites) {
        return absl::FailedPreconditionError(absl::StrCat("there are ", kMostSites, " sites already, and there can be no more"));
      }
      record.set_standing(deps_.approval == Approval::kByAnother ? v1::SiteRecord::PENDING : LetIn(name));
      break;
    case v1::ChangeSiteRequest::APPROVE:
      TRIBUTARY_RETURN_IF_ERROR(Approve(by, record));
      break;
    case v1::ChangeSiteRequest::SUSPEND:
      if (record.standing() != v1::SiteRecord::ACTIVE) {
        return Not(record, "suspended");
      }
      record.set_standing(v1::SiteRecord::SUSPENDED);
      break;
    case v1::ChangeSiteRequest::RESUME:
      if (record.standing() != v1::SiteRecord::SUSPENDED) {
        return Not(record, "resumed");
      }
      record.set_standing(LetIn(name));
      break;
    case v1::ChangeSiteRequest::REVOKE:
      if (record.standing() == v1::SiteRecord::REVOKED) {
        return Not(record, "revoked");
      }
      record.set_standing(v1::SiteRecord::REVOKED);
      record.set_certificates_since_unix_ms(now);
      record.clear_certificate_expires_unix_ms();
      ForgetToken(record);
      break;
    default:
      return absl::InvalidArgumentError("which act? A newer `tributary` than this coordinator knows it");
  }
  record.set_actor(by.operator_name);
  record.set_changed_unix_ms(now);
  record.set_reason(Excerpt(by.reason));
  TRIBUTARY_RETURN_IF_ERROR(Put(record, {by.operator_name, DoneBy(act), record.reason()}));
  if (deps_.changed) {
    deps_.changed();
  }
  return Shown(*deps_.registry->Find(name));
}

absl::StatusOr<absl::Time> SiteRegistrar::IssueToken(const std::string& name, const EnrolmentToken& token, absl::Duration valid,
                                                     const OperatorAct& by) {
  TRIBUTARY_RETURN_IF_ERROR(CheckJournal());
  std::optional<v1::SiteRecord> record = deps_.registry->Find(name);
  if (!record.has_value()) {
    return absl::NotFoundError(absl::StrCat("no site ", Excerpt(name), "; add it first: tributary site add ", Excerpt(name)));
  }
  if (record->standing() != v1::SiteRecord::ACTIVE && record->standing() != v1::SiteRecord::PENDING) {
    return Not(*record, "given a token");
  }
  if (valid < absl::ZeroDuration() || valid > kLongestTokenLifetime) {
    return absl::InvalidArgumentError("a token is valid for at most 30 days");
  }
  const absl::Time expires = deps_.clock->WallNow() + (valid == absl::ZeroDuration() ? kTokenLifetime : valid);
  ForgetToken(*record);
  record->set_token_sha256(DigestBytes(Sha256(token.secret)));
  record->set_token_expires_unix_ms(absl::ToUnixMillis(expires));
  record->set_token_actor(by.operator_name);
  TRIBUTARY_RETURN_IF_ERROR(PutAsItStands(*record, {by.operator_name, "given a token", ""}));
  return expires;
}

absl::StatusOr<SiteRegistrar::Redeemed> SiteRegistrar::Redeem(const std::string& secret, const std::string& site,
                                                              const std::string& key_fingerprint) {
  std::optional<v1::SiteRecord> record = deps_.registry->FindByToken(DigestBytes(Sha256(secret)));
  if (!record.has_value()) {
    return absl::PermissionDeniedError("the token is not known here: a newer one has replaced it, or it is of another federation");
  }
  if (!site.empty() && site != record->name()) {
    return absl::PermissionDeniedError("the token is for another site");
  }
  if (record->standing() != v1::SiteRecord::ACTIVE && record->standing() != v1::SiteRecord::PENDING) {
    return absl::PermissionDeniedError(Not(*record, "enrolled").message());
  }
  const bool is_new = record->key_fingerprint().empty();
  // A key that waits for approval may do so beyond the token's end: who has it showed the token in time.
  const bool waits = !is_new && !record->key_approved();
  if (!waits && !IsTokenAlive(*record)) {
    return absl::PermissionDeniedError("the token has expired; ask the operator for a new one");
  }
  if (!is_new && record->key_fingerprint() != key_fingerprint) {
    // Somebody has a copy of the token. Once for each token: whoever has it may come again and again.
    if (alarmed_.insert(record->token_sha256()).second) {
      TRIBUTARY_RETURN_IF_ERROR(
          PutAsItStands(*record, {"", "token refused", absl::StrCat("used already, shown with key ", key_fingerprint)}));
    }
    return absl::PermissionDeniedError(
        "the token was used already, with another key; if that was not this site, tell the operator of the federation at once");
  }
  if (is_new) {
    record->set_key_fingerprint(key_fingerprint);
    record->set_key_approved(deps_.approval == Approval::kNone);
    TRIBUTARY_RETURN_IF_ERROR(PutAsItStands(*record, {"", "enrolled", absl::StrCat("key ", key_fingerprint)}));
  }
  const bool granted = record->key_approved() && record->standing() == v1::SiteRecord::ACTIVE;
  return Redeemed{record->name(), granted ? Grant::kCertificate : Grant::kAwaitsApproval};
}

absl::Time SiteRegistrar::CertificatesSince(const std::string& site) const {
  const std::optional<v1::SiteRecord> record = deps_.registry->Find(site);
  return record.has_value() && record->certificates_since_unix_ms() > 0 ? absl::FromUnixMillis(record->certificates_since_unix_ms())
                                                                        : absl::InfinitePast();
}

bool SiteRegistrar::HasCertificate(const std::string& site) const {
  const std::optional<v1::SiteRecord> record = deps_.registry->Find(site);
  return record.has_value() && record->certificate_expires_unix_ms() != 0;
}

absl::Status SiteRegistrar::NoteCertificate(const std::string& site, absl::Time expires) {
  std::optional<v1::SiteRecord> record = deps_.registry->Find(site);
  if (!record.has_value() || !deps_.journal->KeepsSites()) {
    return absl::OkStatus();
  }
  record->set_certificate_expires_unix_ms(absl::ToUnixMillis(expires));
  return PutAsItStands(*record,
                       {"", "certified", absl::StrCat("until ", absl::FormatTime(absl::RFC3339_sec, expires, absl::UTCTimeZone()))});
}

}  // namespace tributary::coordinator
