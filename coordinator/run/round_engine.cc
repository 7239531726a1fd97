#include "coordinator/run/round_engine.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/overloaded.h"

namespace tributary::coordinator {
namespace {

// Answers that the adaptive deadline looks back on.
constexpr size_t kArrivalsKept = 256;
// Deadline = median + kSpread * max(MAD, median / 10): the median absolute deviation alone would be 0 for equally fast sites, and then the
// least hiccup would be late.
constexpr int kSpread = 6;
// A run whose rounds stay empty for so long learns nothing and says so.
constexpr uint32_t kMaxEmptyRounds = 10;
constexpr size_t kNamesTold = 8;

std::string Names(const std::vector<std::string>& names) {
  if (names.size() <= kNamesTold) {
    return absl::StrJoin(names, ", ");
  }
  return absl::StrCat(absl::StrJoin(names.begin(), names.begin() + kNamesTold, ", "), " and ", names.size() - kNamesTold, " more");
}

absl::Duration Median(std::vector<absl::Duration> values) {
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

RoundEngine::RoundEngine(const RoundPolicy& policy, const RunPosition& position, Instant at)
    : policy_(policy),
      committed_(position.committed),
      state_hash_(position.state_hash),
      base_state_hash_(position.base_state_hash),
      stop_reason_(position.stop),
      paused_(position.paused) {
  for (size_t i = 0; i < position.arrivals.size(); ++i) {
    arrivals_[i].assign(position.arrivals[i].begin(), position.arrivals[i].end());
  }
  if (position.open.has_value()) {
    Open(position.open->members, at);
    for (const auto& [site, digest] : position.open->accepted) {
      Member& member = members_[site];
      member.answer = Member::Answer::kAccepted;
      member.digest = digest;
    }
    reason_ = absl::StrCat("round ", position.open->round, " continues after a restart");
    return;
  }
  if (committed_ >= policy_.rounds) {
    phase_ = Phase::kReporting;
    paused_.reset();
    wait_ = BoundAfter(at, policy_.max_deadline);
  } else {
    wait_ = BoundAfter(at, policy_.wait_timeout);
  }
}

RoundEngine::Bound RoundEngine::BoundAfter(Instant at, absl::Duration wait) {
  return Bound{at.now + wait, absl::FormatTime("%H:%M:%S UTC", at.wall + wait, absl::UTCTimeZone())};
}

std::vector<Action> RoundEngine::Step(const Event& event, const Membership& membership, Instant at) {
  std::vector<Action> actions;
  if (phase_ == Phase::kOver) {
    return actions;
  }
  Apply(event, at, actions);
  Decide(membership, at, actions);
  return actions;
}

void RoundEngine::Apply(const Event& event, Instant at, std::vector<Action>& actions) {
  const auto member_of_open_round = [this](const std::string& site) -> Member* {
    const auto it = members_.find(site);
    return phase_ == Phase::kCollecting && it != members_.end() ? &it->second : nullptr;
  };
  std::visit(Overloaded{
                 [&](const SiteReady& ready) {
                   if (Member* member = member_of_open_round(ready.site); member != nullptr) {
                     actions.push_back(TellRound{ready.site, member->answer == Member::Answer::kAccepted});
                   }
                   if (phase_ == Phase::kReporting) {
                     reported_[ready.site] = true;
                   }
                 },
                 [&](const UpdateAccepted& update) {
                   if (Member* member = member_of_open_round(update.site); member != nullptr) {
                     member->answer = Member::Answer::kAccepted;
                     member->digest = update.digest;
                     NoteArrival(committed_ + 1, at.now - round_start_);
                   }
                 },
                 [&](const UpdateRefused& update) {
                   if (Member* member = member_of_open_round(update.site);
                       member != nullptr && member->answer != Member::Answer::kAccepted) {
                     member->answer = Member::Answer::kRefused;
                     member->why = update.reason;
                   }
                 },
                 [&](const UpdateSkipped& skipped) {
                   Member* member = member_of_open_round(skipped.site);
                   if (member != nullptr && skipped.round == committed_ + 1 && member->answer != Member::Answer::kAccepted) {
                     member->answer = Member::Answer::kSkipped;
                     member->why = skipped.reason;
                   }
                 },
                 [&](const UpdateCameLate& late) {
                   // Without the late ones the deadline would only ever see arrivals that it allowed, and could not grow.
                   if (late.round == committed_ && last_round_start_ != absl::InfinitePast()) {
                     NoteArrival(late.round, at.now - last_round_start_);
                   }
                 },
                 [&](const RoundCommitted& commit) {
                   if (phase_ == Phase::kCommitting) {
                     ++committed_;
                     base_state_hash_ = policy_.pipeline ? state_hash_ : commit.state_hash;
                     state_hash_ = commit.state_hash;
                     EnterAfterCommit(at, actions);
                   }
                 },
                 [&](const StateReported& report) {
                   if (phase_ == Phase::kReporting) {
                     reported_[report.site] = true;
                   }
                 },
                 [&](const StopRequested& stop) {
                   stop_reason_ = stop.reason;
                   paused_.reset();
                 },
                 [&](const PauseRequested& pause) {
                   if (phase_ != Phase::kReporting && !stop_reason_.has_value()) {
                     paused_ = pause.reason;
                   }
                 },
                 [&](const ResumeRequested&) {
                   if (paused_.has_value()) {
                     paused_.reset();
                     // The time of the pause is nobody's fault.
                     const bool deadline_ahead = phase_ == Phase::kCollecting && deadline_.at > at.now;
                     wait_ = BoundAfter(at, policy_.wait_timeout + (deadline_ahead ? deadline_.at - at.now : absl::ZeroDuration()));
                   }
                 },
                 [&](const DrainRequested&) { draining_ = true; },
                 [](const MembersChanged&) {},
                 [](const TimePassed&) {},
             },
             event);
}

void RoundEngine::Decide(const Membership& membership, Instant at, std::vector<Action>& actions) {
  switch (phase_) {
    case Phase::kWaiting:
      DecideWaiting(membership, at, actions);
      break;
    case Phase::kCollecting:
      DecideCollecting(membership, at, actions);
      break;
    case Phase::kReporting:
      DecideReporting(membership, at, actions);
      break;
    case Phase::kCommitting:
    case Phase::kDrained:
    case Phase::kOver:
      break;
  }
}

void RoundEngine::DecideWaiting(const Membership& membership, Instant at, std::vector<Action>& actions) {
  if (stop_reason_.has_value()) {
    End(v1::STOPPED, *stop_reason_, actions);
    return;
  }
  if (draining_) {
    phase_ = Phase::kDrained;
    reason_ = absl::StrCat("the coordinator is shutting down after round ", committed_, "; the run continues when it is back");
    actions.push_back(Drained{});
    return;
  }
  if (paused_.has_value()) {
    reason_ = absl::StrCat(*paused_, "; round ", committed_ + 1, " starts after `tributary run resume` (", membership.Describe(), ")");
    return;
  }
  const size_t ready = membership.In(Presence::kReady).size();
  if (ready >= policy_.min_workers) {
    const std::vector<std::string> members = ChooseMembers(membership);
    Open(members, at);
    actions.push_back(StartRound{committed_ + 1, members});
    DecideCollecting(membership, at, actions);
    return;
  }
  const std::string missing = absl::StrCat(policy_.min_workers - ready, " more of ", policy_.min_workers, " workers");
  if (at.now >= wait_.at) {
    End(v1::FAILED,
        absl::StrCat("round ", committed_ + 1, " could not start: waited ", absl::FormatDuration(policy_.wait_timeout), " for ", missing,
                     " (", membership.Describe(), ")"),
        actions);
    return;
  }
  reason_ = absl::StrCat("round ", committed_ + 1, ": waiting for ", missing, " until ", wait_.text, " (", membership.Describe(), ")");
}

void RoundEngine::DecideCollecting(const Membership& membership, Instant at, std::vector<Action>& actions) {
  const Tally tally = Count(membership);
  const uint32_t quorum = Quorum();
  const bool enough = tally.accepted >= quorum;
  deadline_passed_ = at.now >= deadline_.at;
  // Everybody has answered, or those who have not are gone, or the deadline has passed: then what is in is committed. Who answered with a
  // skip or an invalid update cannot add to the quorum any more, so a round that everybody answered closes whatever is in.
  if ((tally.awaited.empty() && tally.gone.empty()) || (enough && (tally.awaited.empty() || deadline_passed_))) {
    Close(actions);
    return;
  }
  if (!enough && tally.awaited.empty() && !stop_reason_.has_value() && !paused_.has_value() && Reopen(membership, at, actions)) {
    DecideCollecting(membership, at, actions);
    return;
  }
  std::vector<std::string> missing = tally.awaited;
  for (const std::string& site : tally.gone) {
    missing.push_back(absl::StrCat(site, " (gone)"));
  }
  const std::string standing = absl::StrCat(paused_.has_value() ? absl::StrCat(*paused_, "; ") : "", "round ", committed_ + 1, ": ",
                                            tally.accepted, " of ", members_.size(), " updates in");
  if (!deadline_passed_) {
    reason_ = absl::StrCat(standing, "; waiting for ", Names(missing), " until ", deadline_.text);
    return;
  }
  if (stop_reason_.has_value()) {
    End(v1::STOPPED, absl::StrCat(*stop_reason_, " (", standing, " at its deadline, ", quorum, " needed: not committed)"), actions);
    return;
  }
  const std::string shortage = absl::StrCat(standing, ", ", quorum, " needed");
  if (paused_.has_value()) {
    reason_ = absl::StrCat(shortage, " and the deadline has passed; it stays open for ", Names(missing), WhyUnanswered());
    return;
  }
  if (at.now >= wait_.at) {
    End(v1::FAILED,
        absl::StrCat(shortage, "; waited ", absl::FormatDuration(policy_.wait_timeout), " beyond the deadline for ", Names(missing),
                     WhyUnanswered()),
        actions);
    return;
  }
  reason_ = absl::StrCat(shortage, " and the deadline has passed; waiting for ", Names(missing), " until ", wait_.text, WhyUnanswered());
}

void RoundEngine::DecideReporting(const Membership& membership, Instant at, std::vector<Action>& actions) {
  const std::vector<std::string> missing = UnreportedSites(membership);
  const std::string done = absl::StrCat("all ", policy_.rounds, " rounds committed");
  if (missing.empty()) {
    End(v1::FINISHED, done, actions);
  } else if (at.now >= wait_.at || stop_reason_.has_value()) {
    End(v1::FINISHED, absl::StrCat(done, "; no report of the final state from ", Names(missing)), actions);
  } else if (draining_) {
    phase_ = Phase::kDrained;
    reason_ = absl::StrCat(done, "; the coordinator is shutting down before the final reports");
    actions.push_back(Drained{});
  } else {
    reason_ = absl::StrCat(done, "; waiting for the final state of ", Names(missing), " until ", wait_.text);
  }
}

void RoundEngine::EnterAfterCommit(Instant at, std::vector<Action>& actions) {
  last_round_start_ = round_start_;
  const bool empty =
      std::none_of(members_.begin(), members_.end(), [](const auto& m) { return m.second.answer == Member::Answer::kAccepted; });
  empty_rounds_ = empty ? empty_rounds_ + 1 : 0;
  const std::string why = WhyUnanswered();
  members_.clear();
  deadline_ = Bound{};
  if (committed_ >= policy_.rounds) {
    phase_ = Phase::kReporting;
    paused_.reset();  // there is nothing left to hold back
    reported_.clear();
    // As long as a round may take: the report needs a commit applied and a validation split evaluated.
    wait_ = BoundAfter(at, policy_.max_deadline);
    return;
  }
  phase_ = Phase::kWaiting;
  wait_ = BoundAfter(at, policy_.wait_timeout);
  if (empty_rounds_ >= kMaxEmptyRounds && !stop_reason_.has_value()) {
    End(v1::FAILED, absl::StrCat(empty_rounds_, " rounds in a row, up to round ", committed_, ", brought no valid update", why), actions);
  }
}

bool RoundEngine::Reopen(const Membership& membership, Instant at, std::vector<Action>& actions) {
  std::map<std::string, Member> present;
  for (const auto& [site, member] : members_) {
    if (member.answer != Member::Answer::kNone) {
      present.insert({site, member});
    }
  }
  const size_t answered = present.size();
  for (const std::string& site : membership.In(Presence::kReady)) {
    if (present.size() < policy_.max_workers) {
      present.try_emplace(site);
    }
  }
  if (present.size() == answered || present.size() < policy_.min_workers) {
    return false;
  }
  StartRound start{committed_ + 1, {}};
  for (const auto& [site, member] : present) {
    start.members.push_back(site);
  }
  Open(start.members, at);
  members_ = std::move(present);
  actions.push_back(std::move(start));
  return true;
}

void RoundEngine::Open(const std::vector<std::string>& members, Instant at) {
  phase_ = Phase::kCollecting;
  members_.clear();
  for (const std::string& site : members) {
    members_[site] = Member{};
  }
  round_start_ = at.now;
  const absl::Duration deadline = AdaptiveDeadline(committed_ + 1);
  deadline_ = BoundAfter(at, deadline);
  wait_ = BoundAfter(at, deadline + policy_.wait_timeout);
  deadline_passed_ = false;
}

void RoundEngine::Close(std::vector<Action>& actions) {
  CloseRound close;
  close.round = committed_ + 1;
  for (const auto& [site, member] : members_) {
    if (member.answer == Member::Answer::kAccepted) {
      close.included.push_back(site);
    } else if (member.answer == Member::Answer::kNone) {
      close.stragglers.push_back(site);
    }
  }
  phase_ = Phase::kCommitting;
  reason_ = absl::StrCat("round ", close.round, ": committing ", close.included.size(), " of ", members_.size(), " updates");
  actions.push_back(std::move(close));
}

void RoundEngine::End(v1::RunState state, std::string reason, std::vector<Action>& actions) {
  phase_ = Phase::kOver;
  end_state_ = state;
  reason_ = std::move(reason);
  members_.clear();
  actions.push_back(EndRun{state, reason_});
}

// At most max_workers of the ready sites; where there are more, the choice moves on from round to round so that all take part in turn.
std::vector<std::string> RoundEngine::ChooseMembers(const Membership& membership) const {
  std::vector<std::string> ready = membership.In(Presence::kReady);
  if (ready.size() > policy_.max_workers) {
    std::rotate(ready.begin(), ready.begin() + (committed_ * policy_.max_workers) % ready.size(), ready.end());
    ready.resize(policy_.max_workers);
    std::sort(ready.begin(), ready.end());
  }
  return ready;
}

absl::Duration RoundEngine::AdaptiveDeadline(uint64_t round) const {
  const std::deque<absl::Duration>& past = arrivals_[EvaluatesBase(round)];
  if (past.empty()) {
    return policy_.max_deadline;
  }
  const absl::Duration median = Median({past.begin(), past.end()});
  std::vector<absl::Duration> deviations;
  deviations.reserve(past.size());
  for (const absl::Duration arrival : past) {
    deviations.push_back(absl::AbsDuration(arrival - median));
  }
  const absl::Duration spread = std::max(Median(std::move(deviations)), median / 10);
  return std::clamp(median + kSpread * spread, policy_.min_deadline, policy_.max_deadline);
}

void RoundEngine::NoteArrival(uint64_t round, absl::Duration after_start) {
  std::deque<absl::Duration>& past = arrivals_[EvaluatesBase(round)];
  past.push_back(after_start);
  if (past.size() > kArrivalsKept) {
    past.pop_front();
  }
}

std::array<std::vector<absl::Duration>, 2> RoundEngine::arrivals() const {
  return {std::vector<absl::Duration>(arrivals_[0].begin(), arrivals_[0].end()),
          std::vector<absl::Duration>(arrivals_[1].begin(), arrivals_[1].end())};
}

uint32_t RoundEngine::Quorum() const {
  return std::max<uint32_t>(1, static_cast<uint32_t>(std::ceil(policy_.quorum * static_cast<double>(members_.size()) - 1e-9)));
}

RoundEngine::Tally RoundEngine::Count(const Membership& membership) const {
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

std::vector<std::string> RoundEngine::UnreportedSites(const Membership& membership) const {
  std::vector<std::string> missing;
  for (const auto& [site, entry] : membership.sites()) {
    if (membership.CanAnswer(site) && !reported_.contains(site)) {
      missing.push_back(site);
    }
  }
  return missing;
}

std::string RoundEngine::WhyUnanswered() const {
  std::vector<std::string> told;
  for (const auto& [site, member] : members_) {
    if (!member.why.empty() && told.size() < kNamesTold && member.answer != Member::Answer::kAccepted) {
      told.push_back(absl::StrCat(site, member.answer == Member::Answer::kSkipped ? " skipped: " : " was refused: ", member.why));
    }
  }
  return told.empty() ? "" : absl::StrCat(" (", absl::StrJoin(told, "; "), ")");
}

UpdateVerdict RoundEngine::Judge(const std::string& site, uint64_t round, const std::string& base_state_hash,
                                 const std::string& digest) const {
  using Kind = UpdateVerdict::Kind;
  if (round <= committed_) {
    return {Kind::kLate, absl::StrCat("round ", round, " is closed; the last commit is ", committed_)};
  }
  if (round != open_round()) {
    return {Kind::kRefused, open_round() == 0 ? absl::StrCat("round ", round, " is not open: no round is")
                                              : absl::StrCat("round ", round, " is not open: round ", open_round(), " is")};
  }
  const auto it = members_.find(site);
  if (it == members_.end()) {
    return {Kind::kRefused, absl::StrCat(site, " is not a member of round ", round, ": it became ready after the round had started")};
  }
  if (it->second.answer == Member::Answer::kAccepted) {
    return it->second.digest == digest
               ? UpdateVerdict{Kind::kDuplicate, absl::StrCat("the update for round ", round, " was accepted before")}
               : UpdateVerdict{Kind::kConflict, absl::StrCat("another update for round ", round, " was accepted before; that one counts")};
  }
  if (base_state_hash != base_state_hash_) {
    return {Kind::kWrongBase, absl::StrCat("computed from another state than state[", base_round(), "]")};
  }
  return {Kind::kAcceptable, ""};
}

bool RoundEngine::HoldsUpdateOf(const std::string& site) const {
  const auto it = members_.find(site);
  return it != members_.end() && it->second.answer == Member::Answer::kAccepted;
}

absl::Time RoundEngine::wake_at() const {
  const absl::Time wait_end = paused_.has_value() ? absl::InfiniteFuture() : wait_.at;
  switch (phase_) {
    case Phase::kWaiting:
    case Phase::kReporting:
      return wait_end;
    case Phase::kCollecting:
      return deadline_passed_ ? wait_end : deadline_.at;
    case Phase::kCommitting:
    case Phase::kDrained:
    case Phase::kOver:
      break;
  }
  return absl::InfiniteFuture();
}

v1::RunState RoundEngine::state() const {
  if (phase_ == Phase::kOver) {
    return end_state_;
  }
  if (draining_ || stop_reason_.has_value()) {
    return v1::DRAINING;
  }
  if (paused_.has_value()) {
    return v1::PAUSED;
  }
  return phase_ == Phase::kWaiting ? v1::WAITING : v1::RUNNING;
}

}  // namespace tributary::coordinator
