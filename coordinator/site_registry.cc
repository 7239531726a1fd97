#include "coordinator/site_registry.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace tributary::coordinator {

SiteRegistry::SiteRegistry(const std::vector<std::string>& configured) : configured_(configured.begin(), configured.end()) {
  Recount();
}

bool SiteRegistry::Contains(const std::string& site) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return active_.contains(site);
}

size_t SiteRegistry::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return active_.size();
}

std::vector<std::string> SiteRegistry::Names() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return {active_.begin(), active_.end()};
}

absl::Status SiteRegistry::Check(const std::string& site, absl::Time certificate_begin) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto record = records_.find(site);
  switch (StandingOf(site)) {
    case v1::SiteRecord::ACTIVE:
      // A certificate counts in seconds.
      if (record != records_.end() && absl::ToUnixSeconds(certificate_begin) < record->second.certificates_since_unix_ms() / 1000) {
        return absl::PermissionDeniedError(absl::StrCat(
            "the certificate of site ", site, " is from before the site was revoked; it needs a new one: tributary site token ", site));
      }
      return absl::OkStatus();
    case v1::SiteRecord::PENDING:
      return absl::PermissionDeniedError(absl::StrCat("site ", site, " awaits approval: tributary site approve ", site));
    case v1::SiteRecord::SUSPENDED:
      return absl::PermissionDeniedError(absl::StrCat("site ", site, " is suspended by an operator of the federation"));
    case v1::SiteRecord::REVOKED:
      return absl::PermissionDeniedError(absl::StrCat("site ", site, " was revoked by an operator of the federation"));
    default:
      return absl::NotFoundError(absl::StrCat("no site ", site));
  }
}

void SiteRegistry::Replace(const std::vector<std::string>& configured) {
  const std::lock_guard<std::mutex> lock(mutex_);
  configured_ = {configured.begin(), configured.end()};
  Recount();
}

void SiteRegistry::Put(const v1::SiteRecord& record) {
  const std::lock_guard<std::mutex> lock(mutex_);
  records_[record.name()] = record;
  Recount();
}

bool SiteRegistry::IsConfigured(const std::string& site) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return configured_.contains(site);
}

v1::SiteRecord::Standing SiteRegistry::RecordedStanding(const std::string& site) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = records_.find(site);
  return found == records_.end() ? v1::SiteRecord::STANDING_UNSPECIFIED : found->second.standing();
}

std::optional<v1::SiteRecord> SiteRegistry::Find(const std::string& site) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const v1::SiteRecord::Standing standing = StandingOf(site);
  if (standing == v1::SiteRecord::STANDING_UNSPECIFIED) {
    return std::nullopt;
  }
  const auto found = records_.find(site);
  v1::SiteRecord record = found == records_.end() ? v1::SiteRecord() : found->second;
  record.set_name(site);
  record.set_standing(standing);
  return record;
}

std::optional<v1::SiteRecord> SiteRegistry::FindByToken(const std::string& sha256) const {
  std::string site;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [name, record] : records_) {
      if (record.token_sha256() == sha256) {
        site = name;
      }
    }
  }
  return site.empty() ? std::nullopt : Find(site);
}

std::vector<v1::SiteRecord> SiteRegistry::Records() const {
  std::set<std::string> names;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    names = configured_;
    for (const auto& [name, record] : records_) {
      names.insert(name);
    }
  }
  std::vector<v1::SiteRecord> records;
  for (const std::string& name : names) {
    if (std::optional<v1::SiteRecord> record = Find(name); record.has_value()) {
      records.push_back(*std::move(record));
    }
  }
  return records;
}

// The configuration says who belongs; what an operator did against it goes before that.
v1::SiteRecord::Standing SiteRegistry::StandingOf(const std::string& site) const {
  const auto found = records_.find(site);
  const v1::SiteRecord::Standing recorded = found == records_.end() ? v1::SiteRecord::STANDING_UNSPECIFIED : found->second.standing();
  const bool let_in = recorded != v1::SiteRecord::SUSPENDED && recorded != v1::SiteRecord::REVOKED;
  return let_in && configured_.contains(site) ? v1::SiteRecord::ACTIVE : recorded;
}

void SiteRegistry::Recount() {
  active_.clear();
  for (const std::string& site : configured_) {
    if (StandingOf(site) == v1::SiteRecord::ACTIVE) {
      active_.insert(site);
    }
  }
  for (const auto& [site, record] : records_) {
    if (StandingOf(site) == v1::SiteRecord::ACTIVE) {
      active_.insert(site);
    }
  }
}

}  // namespace tributary::coordinator
