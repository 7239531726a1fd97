#include "coordinator/run/round_engine.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/assert.h"
#include "common/overloaded.h"

namespace tributary::coordinator {
namespace {

using Answer = RoundMembers::Member::Answer;

// A run whose rounds stay empty for so long learns nothing and says so.
constexpr uint32_t kMaxEmptyRounds = 10;

}  // namespace

RoundEngine::RoundEngine(const RoundPolicy& policy, const RunPosition& position, Instant at)
    : policy_(policy),
      committed_(position.committed),
      state_hash_(position.state_hash),
      base_state_hash_(position.base_state_hash),
      stop_reason_(position.stop),
      paused_(position.paused),
      enough_(position.enough) {
  for (size_t i = 0; i < position.arrivals.size(); ++i) {
    arrivals_[i] = ArrivalTimes(position.arrivals[i]);
  }
  if (position.open.has_value()) {
    std::vector<std::string> sites = position.open->members;
    for (const auto& [site, digest] : position.open->accepted) {
      sites.push_back(site);
    }
    RoundMembers members(sites);
    for (const auto& [site, digest] : position.open->accepted) {
      members.Accept(site, digest);
    }
    Open(std::move(members), at);
    reason_ = absl::StrCat("round ", position.open->round, " continues after a restart");
    return;
  }
  if (AllCommitted()) {
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
  Take(event, at, actions);
  Decide(membership, at, actions);
  CheckInvariants();
  return actions;
}

void RoundEngine::CheckInvariants() const {
  const bool in_round = phase_ == Phase::kCollecting || phase_ == Phase::kExchanging || phase_ == Phase::kCommitting;
  TRIBUTARY_ASSERT(in_round || members_.empty(), "phase ", static_cast<int>(phase_), " with ", members_.size(), " members");
  TRIBUTARY_ASSERT(!in_round || committed_ < policy_.rounds, "a round after the last, ", policy_.rounds);
  TRIBUTARY_ASSERT(members_.size() <= policy_.max_workers, members_.size(), " members");
  TRIBUTARY_ASSERT((phase_ == Phase::kOver) == (end_state_ != v1::RUN_STATE_UNSPECIFIED), "end state ", end_state_);
}

void RoundEngine::Accept(const UpdateAccepted& update, Instant at) {
  TRIBUTARY_ASSERT(IsMember(update.site) && !members_.HasAccepted(update.site), "an update of ", update.site, " that was not acceptable; ",
                   reason_);
  if (members_.Find(update.site)->answer == Answer::kNone) {
    arrivals_[EvaluatesBase(committed_ + 1)].Note(at.now - round_start_);
  }
  members_.Accept(update.site, update.digest);
}

void RoundEngine::Take(const Event& event, Instant at, std::vector<Action>& actions) {
  const bool collecting = phase_ == Phase::kCollecting;
  const uint64_t current = committed_ + 1;
  std::visit(Overloaded{
                 [&](const SiteReady& ready) {
                   if (collecting && members_.Find(ready.site) != nullptr) {
                     actions.push_back(TellRound{ready.site, members_.HasAccepted(ready.site)});
                   }
                   if (phase_ == Phase::kReporting) {
                     reported_[ready.site] = true;
                   }
                 },
                 [&](const UpdateAccepted& update) { Accept(update, at); },
                 [&](const UpdatesAccepted& together) {
                   for (const UpdateAccepted& update : together.updates) {
                     Accept(update, at);
                   }
                 },
                 [&](const UpdateRefused& update) {
                   if (collecting) {
                     members_.Refuse(update.site, update.reason);
                   }
                 },
                 [&](const UpdateSkipped& skipped) {
                   if (collecting && skipped.round == current) {
                     members_.Skip(skipped.site, skipped.reason);
                   }
                 },
                 [&](const UpdateCameLate& late) {
                   if (late.round == closed_round_ && unanswered_.erase(late.site) > 0) {
                     arrivals_[EvaluatesBase(late.round)].Note(at.now - (late.round == committed_ ? last_round_start_ : round_start_));
                   }
                 },
                 [&](const ExchangeDone& exchange) {
                   if (phase_ == Phase::kExchanging && exchange.round == current) {
                     BeginCommit(std::nullopt, actions);
                   }
                 },
                 [&](const ExchangeFailed& exchange) {
                   if (phase_ == Phase::kExchanging && exchange.round == current) {
                     BeginCommit(exchange.reason, actions);
                   }
                 },
                 [&](const RoundCommitted& commit) {
                   TRIBUTARY_ASSERT(phase_ == Phase::kCommitting, "a commit that was not asked for; ", reason_);
                   ++committed_;
                   base_state_hash_ = policy_.pipeline ? state_hash_ : commit.state_hash;
                   state_hash_ = commit.state_hash;
                   enough_ = commit.enough;
                   EnterAfterCommit(at, actions);
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
                 [&](const RunExtended& extended) {
                   policy_.rounds = extended.rounds;
                   enough_.reset();
                   if (phase_ == Phase::kReporting) {
                     phase_ = Phase::kWaiting;
                     wait_ = BoundAfter(at, policy_.wait_timeout);
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
    case Phase::kExchanging:
      DecideExchanging(at, actions);
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
    Open(RoundMembers(members), at);
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
  const RoundMembers::Tally tally = members_.Count(membership);
  const uint32_t quorum = Quorum();
  const bool enough = tally.accepted >= quorum;
  deadline_passed_ = at.now >= deadline_.at;
  // Everybody has answered, or those who have not are gone, or the deadline has passed: then what is in is committed. Who answered with a
  // skip or an invalid update cannot add to the quorum any more, so a round that everybody answered closes whatever is in.
  if ((tally.awaited.empty() && tally.gone.empty()) || (enough && (tally.awaited.empty() || deadline_passed_))) {
    CloseCollection(tally.awaited, at, actions);
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
    reason_ = absl::StrCat(standing, "; waiting for ", ListNames(missing), " until ", deadline_.text);
    return;
  }
  if (stop_reason_.has_value()) {
    End(v1::STOPPED, absl::StrCat(*stop_reason_, " (", standing, " at its deadline, ", quorum, " needed: not committed)"), actions);
    return;
  }
  const std::string shortage = absl::StrCat(standing, ", ", quorum, " needed");
  if (paused_.has_value()) {
    reason_ = absl::StrCat(shortage, " and the deadline has passed; it stays open for ", ListNames(missing), members_.WhyDeclined());
    return;
  }
  if (at.now >= wait_.at) {
    End(v1::FAILED,
        absl::StrCat(shortage, "; waited ", absl::FormatDuration(policy_.wait_timeout), " beyond the deadline for ", ListNames(missing),
                     members_.WhyDeclined()),
        actions);
    return;
  }
  reason_ = absl::StrCat(shortage, " and the deadline has passed; waiting for ", ListNames(missing), " until ", wait_.text,
                         members_.WhyDeclined());
}

// Its deadline holds whatever operators want meanwhile: like any round in flight it comes to its end.
void RoundEngine::DecideExchanging(Instant at, std::vector<Action>& actions) {
  if (at.now >= deadline_.at) {
    BeginCommit(absl::StrCat("no result within ", absl::FormatDuration(*policy_.exchange_deadline)), actions);
    return;
  }
  const std::vector<std::string> participants = members_.Sites(Answer::kAccepted);
  reason_ = absl::StrCat(paused_.has_value() ? absl::StrCat(*paused_, "; ") : "", "round ", committed_ + 1, ": ", participants.size(),
                         " of ", members_.size(), " updates in; exchange between ", ListNames(participants), " until ", deadline_.text);
}

void RoundEngine::DecideReporting(const Membership& membership, Instant at, std::vector<Action>& actions) {
  const std::vector<std::string> missing = UnreportedSites(membership);
  const std::string done = committed_ >= policy_.rounds
                               ? absl::StrCat("all ", policy_.rounds, " rounds committed")
                               : absl::StrCat(*enough_, "; ended after round ", committed_, " of ", policy_.rounds);
  if (missing.empty()) {
    End(v1::FINISHED, done, actions);
  } else if (at.now >= wait_.at || stop_reason_.has_value()) {
    End(v1::FINISHED, absl::StrCat(done, "; no report of the final state from ", ListNames(missing)), actions);
  } else if (draining_) {
    phase_ = Phase::kDrained;
    reason_ = absl::StrCat(done, "; the coordinator is shutting down before the final reports");
    actions.push_back(Drained{});
  } else {
    reason_ = absl::StrCat(done, "; waiting for the final state of ", ListNames(missing), " until ", wait_.text);
  }
}

void RoundEngine::EnterAfterCommit(Instant at, std::vector<Action>& actions) {
  last_round_start_ = round_start_;
  const bool empty = members_.Sites(Answer::kAccepted).empty() || !why_empty_.empty();
  empty_rounds_ = empty ? empty_rounds_ + 1 : 0;
  const std::string why = absl::StrCat(why_empty_, members_.WhyDeclined());
  members_ = RoundMembers();
  why_empty_.clear();
  deadline_ = Bound{};
  if (AllCommitted()) {
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
  const size_t answered = members_.size() - members_.Sites(Answer::kNone).size();
  const std::vector<std::string> ready = bench_.Allow(membership.In(Presence::kReady), committed_ + 1, policy_.min_workers);
  RoundMembers present = members_.WithReplacements(ready, policy_.max_workers);
  if (present.size() == answered || present.size() < policy_.min_workers) {
    return false;
  }
  actions.push_back(StartRound{committed_ + 1, present.Sites()});
  Open(std::move(present), at);
  return true;
}

void RoundEngine::Open(RoundMembers members, Instant at) {
  phase_ = Phase::kCollecting;
  members_ = std::move(members);
  round_start_ = at.now;
  const absl::Duration deadline = arrivals_[EvaluatesBase(committed_ + 1)].Deadline(policy_.min_deadline, policy_.max_deadline);
  deadline_ = BoundAfter(at, deadline);
  wait_ = BoundAfter(at, deadline + policy_.wait_timeout);
  deadline_passed_ = false;
}

void RoundEngine::CloseCollection(const std::vector<std::string>& awaited, Instant at, std::vector<Action>& actions) {
  const std::vector<std::string> unanswered = members_.Sites(Answer::kNone);
  closed_round_ = committed_ + 1;
  unanswered_ = {unanswered.begin(), unanswered.end()};
  std::vector<std::string> answered = members_.Sites();
  std::erase_if(answered, [this](const std::string& site) { return unanswered_.contains(site); });
  for (const Bench::Benched& benched : bench_.RoundClosed(closed_round_, awaited, answered)) {
    actions.push_back(SiteBenched{benched.site, benched.misses, benched.until});
  }
  const std::vector<std::string> participants = members_.Sites(Answer::kAccepted);
  closed_updates_.clear();
  for (const std::string& site : participants) {
    closed_updates_[site] = members_.Find(site)->digest;
  }
  if (!policy_.exchange_deadline.has_value() || participants.empty()) {
    BeginCommit(std::nullopt, actions);
    return;
  }
  phase_ = Phase::kExchanging;
  deadline_ = BoundAfter(at, *policy_.exchange_deadline);
  actions.push_back(BeginExchange{committed_ + 1, participants});
  DecideExchanging(at, actions);
}

void RoundEngine::BeginCommit(const std::optional<std::string>& failure, std::vector<Action>& actions) {
  CloseRound close{committed_ + 1, members_.Sites(Answer::kAccepted), members_.Sites(Answer::kNone)};
  if (failure.has_value()) {
    close.included.clear();
    why_empty_ = absl::StrCat(" (the exchange failed: ", *failure, ")");
  }
  phase_ = Phase::kCommitting;
  reason_ = absl::StrCat("round ", close.round, ": committing ", close.included.size(), " of ", members_.size(), " updates", why_empty_);
  actions.push_back(std::move(close));
}

void RoundEngine::End(v1::RunState state, std::string reason, std::vector<Action>& actions) {
  phase_ = Phase::kOver;
  end_state_ = state;
  reason_ = std::move(reason);
  members_ = RoundMembers();
  actions.push_back(EndRun{state, reason_});
}

// At most max_workers of the ready sites, without those on the bench, unless they are needed; where there are more, the choice moves on
// from round to round so that all take part in turn.
std::vector<std::string> RoundEngine::ChooseMembers(const Membership& membership) const {
  std::vector<std::string> ready = bench_.Allow(membership.In(Presence::kReady), committed_ + 1, policy_.min_workers);
  if (ready.size() > policy_.max_workers) {
    std::rotate(ready.begin(), ready.begin() + (committed_ * policy_.max_workers) % ready.size(), ready.end());
    ready.resize(policy_.max_workers);
    std::sort(ready.begin(), ready.end());
  }
  return ready;
}

uint64_t RoundEngine::BenchedUntil(const std::string& site) const {
  const Bench::Benched* const benched = bench_.Find(site, committed_ + 1);
  return benched == nullptr ? 0 : benched->until;
}

uint32_t RoundEngine::Quorum() const {
  return std::max<uint32_t>(1, static_cast<uint32_t>(std::ceil(policy_.quorum * static_cast<double>(members_.size()) - 1e-9)));
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

UpdateVerdict RoundEngine::Judge(const std::string& site, uint64_t round, const std::string& base_state_hash,
                                 const std::string& digest) const {
  using Kind = UpdateVerdict::Kind;
  const auto conflict = [round](const std::string& accepted) -> UpdateVerdict {
    return {Kind::kConflict, absl::StrCat("another update of this site for round ", round, " was accepted before; that one counts"),
            accepted};
  };
  if (round <= committed_) {
    // Of the same one again nothing else is to be said: its receipt was sent.
    const auto accepted = closed_updates_.find(site);
    if (round == closed_round_ && accepted != closed_updates_.end() && accepted->second != digest) {
      return conflict(accepted->second);
    }
    return {Kind::kLate, absl::StrCat("round ", round, " is closed; the last commit is ", committed_)};
  }
  // Closed, and not committed yet: what was accepted keeps its place, what comes now is late.
  const bool exchanging = phase_ == Phase::kExchanging && round == committed_ + 1;
  if (round != open_round() && !exchanging) {
    return {Kind::kRefused, open_round() == 0 ? absl::StrCat("round ", round, " is not open: no round is")
                                              : absl::StrCat("round ", round, " is not open: round ", open_round(), " is")};
  }
  const RoundMembers::Member* const member = members_.Find(site);
  if (member == nullptr) {
    const uint64_t benched = BenchedUntil(site);
    return {Kind::kRefused, absl::StrCat(site, " is not a member of round ", round, ": ",
                                         benched == 0 ? "it became ready after the round had started"
                                                      : absl::StrCat("it is benched until round ", benched))};
  }
  if (member->answer == Answer::kAccepted) {
    return member->digest == digest ? UpdateVerdict{Kind::kDuplicate, absl::StrCat("the update for round ", round, " was accepted before")}
                                    : conflict(member->digest);
  }
  if (exchanging) {
    return {Kind::kLate, absl::StrCat("round ", round, " is closed; the updates that are in are being exchanged")};
  }
  if (base_state_hash != base_state_hash_) {
    return {Kind::kWrongBase, absl::StrCat("computed from a state other than state[", base_round(), "]")};
  }
  return {Kind::kAcceptable, ""};
}

absl::Time RoundEngine::wake_at() const {
  const absl::Time wait_end = paused_.has_value() ? absl::InfiniteFuture() : wait_.at;
  switch (phase_) {
    case Phase::kWaiting:
    case Phase::kReporting:
      return wait_end;
    case Phase::kCollecting:
      return deadline_passed_ ? wait_end : deadline_.at;
    case Phase::kExchanging:
      return deadline_.at;
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
