#include "coordinator/run/round_members.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tributary::coordinator {
namespace {

constexpr size_t kNamesTold = 8;

}  // namespace

std::string ListNames(const std::vector<std::string>& names) {
  if (names.size() <= kNamesTold) {
    return absl::StrJoin(names, ", ");
  }
  return absl::StrCat(absl::StrJoin(names.begin(), names.begin() + kNamesTold, ", "), " and ", names.size() - kNamesTold, " more");
}

RoundMembers::RoundMembers(const std::vector<std::string>& sites) {
  for (const std::string& site : sites) {
    members_[site] = Member{};
  }
}

void RoundMembers::Accept(const std::string& site, const std::string& digest) {
  if (const auto it = members_.find(site); it != members_.end()) {
    it->second.answer = Member::Answer::kAccepted;
    it->second.digest = digest;
  }
}

void RoundMembers::Decline(const std::string& site, Member::Answer answer, const std::string& reason) {
  if (const auto it = members_.find(site); it != members_.end() && it->second.answer != Member::Answer::kAccepted) {
    it->second.answer = answer;
    it->second.why = reason;
  }
}

RoundMembers RoundMembers::WithReplacements(const std::vector<std::string>& ready, size_t max) const {
  RoundMembers present;
  for (const auto& [site, member] : members_) {
    if (member.answer != Member::Answer::kNone) {
      present.members_.insert({site, member});
    }
  }
  for (const std::string& site : ready) {
    if (present.size() < max) {
      present.members_.try_emplace(site);
    }
  }
  return present;
}

const RoundMembers::Member* RoundMembers::Find(const std::string& site) const {
  const auto it = members_.find(site);
  return it == members_.end() ? nullptr : &it->second;
}

bool RoundMembers::HasAccepted(const std::string& site) const {
  const Member* const member = Find(site);
  return member != nullptr && member->answer == Member::Answer::kAccepted;
}

std::vector<std::string> RoundMembers::Sites() const {
  std::vector<std::string> sites;
  for (const auto& [site, member] : members_) {
    sites.push_back(site);
  }
  return sites;
}

std::vector<std::string> RoundMembers::Sites(Member::Answer answer) const {
  std::vector<std::string> sites;
  for (const auto& [site, member] : members_) {
    if (member.answer == answer) {
      sites.push_back(site);
    }
  }
  return sites;
}

RoundMembers::Tally RoundMembers::Count(const Membership& membership) const {
  Tally tally;
  for (const auto& [site, member] : members_) {
    if (member.answer == Member::Answer::kAccepted) {
      ++tally.accepted;
    } else if (member.answer == Member::Answer::kNone) {
      (membership.CanAnswer(site) ? tally.awaited : tally.gone).push_back(site);
    }
  }
  return tally;
}

std::string RoundMembers::WhyDeclined() const {
  std::vector<std::string> told;
  for (const auto& [site, member] : members_) {
    if (!member.why.empty() && told.size() < kNamesTold && member.answer != Member::Answer::kAccepted) {
      told.push_back(absl::StrCat(site, member.answer == Member::Answer::kSkipped ? " skipped: " : " was refused: ", member.why));
    }
  }
  return told.empty() ? "" : absl::StrCat(" (", absl::StrJoin(told, "; "), ")");
}

}  // namespace tributary::coordinator
