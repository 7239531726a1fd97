#include "coordinator/run/membership.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tributary::coordinator {

absl::string_view PresenceName(Presence presence) {
  switch (presence) {
    case Presence::kAway:
      return "away";
    case Presence::kConnected:
      return "connected";
    case Presence::kOffered:
      return "offered";
    case Presence::kRefused:
      return "refused";
    case Presence::kLeft:
      return "left";
    case Presence::kSyncing:
      return "syncing";
    case Presence::kQuarantined:
      return "quarantined";
    case Presence::kReady:
      return "ready";
  }
  return "unknown";
}

void Membership::Connected(const std::string& site, absl::Time now) {
  Site& entry = sites_[site];
  entry.presence = Presence::kConnected;
  entry.session = true;
  entry.note.clear();
  ++version_;
  Heard(site, now);
}

void Membership::Heard(const std::string& site, absl::Time now) {
  Site& entry = sites_[site];
  entry.leased = true;
  entry.lease_end = now + lease_;
}

void Membership::Dropped(const std::string& site) {
  Site& entry = sites_[site];
  entry.session = false;
  ++version_;
  if (entry.presence == Presence::kRefused || entry.presence == Presence::kLeft) {
    entry.leased = false;
  } else {
    entry.presence = Presence::kAway;
  }
}

void Membership::Left(const std::string& site, absl::string_view reason) {
  Set(site, Presence::kLeft, reason);
}

void Membership::Expect(const std::string& site, absl::Time now) {
  Heard(site, now);
}

void Membership::Set(const std::string& site, Presence presence, absl::string_view note) {
  const auto it = sites_.find(site);
  if (it == sites_.end() || !it->second.session) {
    return;
  }
  it->second.presence = presence;
  ++version_;
  it->second.note = std::string(note);
}

void Membership::Move(absl::FunctionRef<bool(const std::string& site)> chosen, Membership& other) {
  ++version_;
  ++other.version_;
  for (auto it = sites_.begin(); it != sites_.end();) {
    if (!chosen(it->first)) {
      ++it;
      continue;
    }
    Site& moved = other.sites_[it->first] = std::move(it->second);
    moved.presence = moved.session ? Presence::kConnected : Presence::kAway;
    moved.note.clear();
    it = sites_.erase(it);
  }
}

std::vector<std::string> Membership::Expire(absl::Time now) {
  std::vector<std::string> expired;
  for (auto& [name, site] : sites_) {
    if (site.leased && site.lease_end <= now) {
      site = Site{};
      ++version_;
      expired.push_back(name);
    }
  }
  return expired;
}

absl::Time Membership::next_expiry() const {
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [name, site] : sites_) {
    if (site.leased) {
      next = std::min(next, site.lease_end);
    }
  }
  return next;
}

bool Membership::CanAnswer(const std::string& site) const {
  const auto it = sites_.find(site);
  return it != sites_.end() && it->second.leased && it->second.presence != Presence::kRefused && it->second.presence != Presence::kLeft;
}

std::vector<std::string> Membership::In(Presence presence) const {
  std::vector<std::string> names;
  for (const auto& [name, site] : sites_) {
    if (site.presence == presence) {
      names.push_back(name);
    }
  }
  return names;
}

std::string Membership::Describe() const {
  constexpr Presence kTold[] = {Presence::kReady,   Presence::kSyncing, Presence::kQuarantined, Presence::kConnected,
                                Presence::kOffered, Presence::kRefused, Presence::kLeft};
  std::vector<std::string> groups;
  for (const Presence presence : kTold) {
    std::vector<std::string> names;
    for (const std::string& name : In(presence)) {
      const std::string& note = sites_.at(name).note;
      names.push_back(note.empty() ? name : absl::StrCat(name, " (", note, ")"));
    }
    if (!names.empty()) {
      groups.push_back(absl::StrCat(PresenceName(presence), ": ", absl::StrJoin(names, ", ")));
    }
  }
  return groups.empty() ? "no site is connected" : absl::StrJoin(groups, "; ");
}

}  // namespace tributary::coordinator
