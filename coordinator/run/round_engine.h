// What happens next in a run: a state machine from (event, now) to actions and a reason that a person can read.
//
// Pure: no network, threads, files, clock or randomness inside; the same events give the same actions. Its driver feeds it and carries out
// what it decides; tests and simulations do the same.
//
//   waiting ──enough ready sites──> collecting ──all in | quorum and deadline──> committing ──> waiting | reporting ──> over
// A run whose policy says so has another protocol's turn, `exchanging`, between collecting and committing.
// Every wait has a bound (wake_at) and says in reason() who is awaited and until when. Only a pause has none: it is the operator's.
//
// The driver's contract. The loop, for one thread and one membership:
//
//   RoundEngine engine(policy, position_in_the_journal, Now());
//   for (;;) {
//     const Event event = NextEvent(engine.wake_at());            // TimePassed, if nothing came until then
//     for (const Action& action : engine.Step(event, membership, Now())) {
//       CarryOut(action);                                         // to its end, before the next action
//     }
//     Tell(engine.state(), engine.reason());
//   }
//
//  1. Events are of what has happened, one at a time, and `membership` is as it is after the event. What carrying out an action brings
//     about is queued: Step is called again only after the last action of the Step before is carried out. Ask wake_at() anew after each.
//  2. StartRound: the round and its members are durable before the first member is told. The same round may start again; the journal then
//     holds its new members beside the updates that were accepted before.
//  3. UpdateAccepted: first Judge says kAcceptable, then the payload is found valid, then it is durable; the event comes before the next
//     Judge of the site, and before any other event. Those that become durable together come as one UpdatesAccepted. A site is not told
//     that its update is held unless a restart would find it. Every other verdict is answered by the driver, and kLate fed back as
//     UpdateCameLate.
//  4. BeginExchange: the round stays open in the journal, with its updates; nothing of the exchange need be durable, for a restart
//     collects the round again and begins the exchange anew. The driver runs the protocol with the participants, over whatever sessions
//     they have, and feeds ExchangeDone or ExchangeFailed. After the deadline the engine goes on by itself, and an answer that comes
//     later changes nothing.
//  5. CloseRound: the commit of `included` is applied and durable before anybody hears of it or gets a receipt, and before
//     RoundCommitted, which is fed once. Other events may come before it; no update is acceptable until then.
//  6. EndRun: the end is durable before anybody is told. The engine is of no further use; Step does nothing.
//  7. Drained: no round is in flight and none will start. The process may end; a restart goes on from the journal.
//  8. If anything cannot be made durable, the engine is abandoned and nothing more is sent. A new one takes over from the journal's
//     RunPosition and decides again what was not carried out.
#ifndef TRIBUTARY_COORDINATOR_RUN_ROUND_ENGINE_H_
#define TRIBUTARY_COORDINATOR_RUN_ROUND_ENGINE_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/run/arrival_times.h"
#include "coordinator/run/bench.h"
#include "coordinator/run/membership.h"
#include "coordinator/run/round_members.h"
#include "coordinator/run/round_policy.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

// One moment on both clocks: `now` (monotonic) decides, `wall` is for people.
struct Instant {
  absl::Time now;
  absl::Time wall;
};

// The round of the state that updates of `round` are computed from.
inline uint64_t BaseRound(uint64_t round, bool pipeline) {
  return pipeline ? std::max<uint64_t>(round, 2) - 2 : round - 1;
}

// Where a run stands when an engine takes over: fresh, or as the journal has it after a restart.
struct RunPosition {
  struct OpenRound {
    uint64_t round = 0;
    std::vector<std::string> members;
    std::map<std::string, std::string> accepted;  // site -> digest of its payload
  };
  uint64_t committed = 0;
  std::string state_hash;       // of state[committed]
  std::string base_state_hash;  // of state[BaseRound(committed + 1)]
  std::optional<OpenRound> open;
  std::optional<std::string> paused = std::nullopt;  // by an operator, and why
  std::optional<std::string> stop = std::nullopt;    // was asked for, and why
  std::optional<std::string> enough = std::nullopt;  // as RoundCommitted's, of the last commit
  // How long after their round's start the latest answers came, oldest first; of rounds with an evaluation [1] apart.
  std::array<std::vector<absl::Duration>, 2> arrivals = {};
};

// Events.
struct MembersChanged {};  // somebody connected, dropped, refused, left, or a lease ended
struct SiteReady {         // holds state[committed]
  std::string site;
};
struct UpdateAccepted {  // judged acceptable, valid, and durable
  std::string site;
  std::string digest;
};
struct UpdatesAccepted {  // the same, of several that became durable together
  std::vector<UpdateAccepted> updates;
};
struct UpdateRefused {  // of the open round, and not valid
  std::string site;
  std::string reason;
};
struct UpdateSkipped {
  std::string site;
  uint64_t round = 0;
  std::string reason;
};
struct UpdateCameLate {
  std::string site;
  uint64_t round = 0;
};
struct ExchangeDone {  // answers BeginExchange: the round can be committed
  uint64_t round = 0;
};
struct ExchangeFailed {  // likewise: nobody's update of this round can be used
  uint64_t round = 0;
  std::string reason;
};
struct RoundCommitted {  // answers CloseRound, once the commit is durable
  std::string state_hash;
  // Why no round after it is needed, though the run has more; a restart would find the same (best_round.h).
  std::optional<std::string> enough = std::nullopt;
};
struct StateReported {  // holds the last state, with the right hash
  std::string site;
};
struct StopRequested {
  std::string reason;
};
struct PauseRequested {
  std::string reason;
};
struct ResumeRequested {};
struct RunExtended {  // durable: it has so many rounds now, more than before
  uint64_t rounds = 0;
};
struct DrainRequested {};
struct TimePassed {};
using Event = std::variant<MembersChanged, SiteReady, UpdateAccepted, UpdatesAccepted, UpdateRefused, UpdateSkipped, UpdateCameLate,
                           ExchangeDone, ExchangeFailed, RoundCommitted, StateReported, StopRequested, PauseRequested, ResumeRequested,
                           RunExtended, DrainRequested, TimePassed>;

// Actions, to be carried out in order.
// Make it durable, then tell every member. The same round again, when members have left and others came instead: the updates accepted
// before stay, and their sites are members again.
struct StartRound {
  uint64_t round = 0;
  std::vector<std::string> members;
};
struct TellRound {  // a member came back while its round is open
  std::string site;
  bool update_held = false;
};
struct BeginExchange {  // the round has closed; answer with ExchangeDone or ExchangeFailed
  uint64_t round = 0;
  std::vector<std::string> participants;  // whose updates are in
};
struct CloseRound {  // commit the updates of `included`, then Step(RoundCommitted)
  uint64_t round = 0;
  std::vector<std::string> included;    // whose updates are in; nobody's after an exchange that failed
  std::vector<std::string> stragglers;  // members without an answer
};
struct SiteBenched {  // it was waited for in vain: the next rounds do without it; for people
  std::string site;
  int misses = 0;      // rounds in a row
  uint64_t until = 0;  // the round in which it may be a member again
};
struct EndRun {
  v1::RunState state = v1::RUN_STATE_UNSPECIFIED;
  std::string reason;
};
struct Drained {};  // no round is in flight and none will start
using Action = std::variant<StartRound, TellRound, BeginExchange, CloseRound, SiteBenched, EndRun, Drained>;

// What to do with an update, before its payload is looked at.
struct UpdateVerdict {
  enum class Kind {
    kAcceptable,
    kDuplicate,  // the same was accepted before: nothing to do, its receipt comes when the round closes
    kConflict,   // another one of this site was accepted before: that one counts, this one is refused
    kLate,       // its round is closed: receipt LATE
    kWrongBase,  // computed from another state: receipt REJECTED, and the site must be resynchronised
    kRefused,    // not a member, no such round: receipt REJECTED
  };
  Kind kind = Kind::kRefused;
  std::string reason;
  std::string accepted_digest = {};  // kConflict: of the one that counts
};

// Not thread-safe. Asserts the driver's contract and its own invariants.
class RoundEngine {
 public:
  RoundEngine(const RoundPolicy& policy, const RunPosition& position, Instant at);

  // `membership` as it is after the event. Nothing happens once the run is over.
  std::vector<Action> Step(const Event& event, const Membership& membership, Instant at);

  UpdateVerdict Judge(const std::string& site, uint64_t round, const std::string& base_state_hash, const std::string& digest) const;

  // Call Step(TimePassed) then; InfiniteFuture if only an event can change anything.
  absl::Time wake_at() const;
  // WAITING, RUNNING, PAUSED (from the request on, while the round in flight still ends), DRAINING, or how the run ended.
  v1::RunState state() const;
  const std::string& reason() const { return reason_; }

  uint64_t committed() const { return committed_; }
  const std::string& state_hash() const { return state_hash_; }
  // What the updates of the round after `committed` are computed from.
  uint64_t base_round() const { return BaseRound(committed_ + 1, policy_.pipeline); }
  const std::string& base_state_hash() const { return base_state_hash_; }
  // 0: none.
  uint64_t open_round() const { return phase_ == Phase::kCollecting ? committed_ + 1 : 0; }
  bool IsMember(const std::string& site) const { return phase_ == Phase::kCollecting && members_.Find(site) != nullptr; }
  // Not 0: the site keeps rounds waiting, and the next that may have it as a member is this one.
  uint64_t BenchedUntil(const std::string& site) const;
  bool HoldsUpdateOf(const std::string& site) const { return members_.HasAccepted(site); }
  bool EvaluatesBase(uint64_t round) const { return (round - 1) % policy_.evaluate_every == 0; }
  // The deadline has passed and the quorum is not reached.
  bool short_of_quorum() const { return phase_ == Phase::kCollecting && deadline_passed_; }
  bool reporting() const { return phase_ == Phase::kReporting; }
  bool stopping() const { return stop_reason_.has_value(); }
  bool paused() const { return paused_.has_value(); }
  // Of the open round (or the one being exchanged or committed).
  absl::Time round_start() const { return round_start_; }
  // Of the open round; once it is being exchanged, of the exchange.
  absl::Time deadline() const { return deadline_.at; }
  // As RunPosition's.
  std::array<std::vector<absl::Duration>, 2> arrivals() const { return {arrivals_[0].values(), arrivals_[1].values()}; }

 private:
  enum class Phase { kWaiting, kCollecting, kExchanging, kCommitting, kReporting, kDrained, kOver };
  // Until when, and the same for people.
  struct Bound {
    absl::Time at = absl::InfiniteFuture();
    std::string text;
  };
  static Bound BoundAfter(Instant at, absl::Duration wait);

  // What the event changes; then what is to be done about it.
  void Take(const Event& event, Instant at, std::vector<Action>& actions);
  void Accept(const UpdateAccepted& update, Instant at);
  void Decide(const Membership& membership, Instant at, std::vector<Action>& actions);
  void DecideWaiting(const Membership& membership, Instant at, std::vector<Action>& actions);
  void DecideCollecting(const Membership& membership, Instant at, std::vector<Action>& actions);
  void DecideExchanging(Instant at, std::vector<Action>& actions);
  void DecideReporting(const Membership& membership, Instant at, std::vector<Action>& actions);
  void CheckInvariants() const;

  void Open(RoundMembers members, Instant at);
  // The open round with ready sites in place of the members that left without an answer. False: there are none, or too few.
  bool Reopen(const Membership& membership, Instant at, std::vector<Action>& actions);
  // Nothing more is collected: to the exchange, if there is one, or straight to the commit.
  // `awaited`: who was waited for until now and has not answered.
  void CloseCollection(const std::vector<std::string>& awaited, Instant at, std::vector<Action>& actions);
  // `failure`: of the exchange; with it nobody is included.
  void BeginCommit(const std::optional<std::string>& failure, std::vector<Action>& actions);
  void EnterAfterCommit(Instant at, std::vector<Action>& actions);
  bool AllCommitted() const { return committed_ >= policy_.rounds || enough_.has_value(); }
  void End(v1::RunState state, std::string reason, std::vector<Action>& actions);

  std::vector<std::string> ChooseMembers(const Membership& membership) const;
  uint32_t Quorum() const;
  std::vector<std::string> UnreportedSites(const Membership& membership) const;

  RoundPolicy policy_;
  Phase phase_ = Phase::kWaiting;
  uint64_t committed_ = 0;
  std::string state_hash_;
  std::string base_state_hash_;
  std::string reason_;
  v1::RunState end_state_ = v1::RUN_STATE_UNSPECIFIED;
  std::optional<std::string> stop_reason_;
  std::optional<std::string> paused_;  // why
  std::optional<std::string> enough_;  // as RoundCommitted's
  bool draining_ = false;

  RoundMembers members_;  // of the open round
  absl::Time round_start_ = absl::InfinitePast();
  absl::Time last_round_start_ = absl::InfinitePast();
  Bound deadline_;  // of the open round or its exchange
  Bound wait_;      // the bound after which waiting ends the run (kReporting: ends it as finished)
  bool deadline_passed_ = false;
  std::string why_empty_;  // why the round being committed brought nothing, beyond what its members said
  // Rounds with an evaluation ([1]) take longer and are looked at by themselves. Evidence is a member's first answer to the round, and
  // nothing else: nobody can move the deadline by answering often, or to a round that it was not offered.
  ArrivalTimes arrivals_[2];
  Bench bench_;
  // The newest round whose collection has closed, and its members that had not answered by then; those who have since are out. And whose
  // updates had been accepted, by digest.
  uint64_t closed_round_ = 0;
  std::set<std::string> unanswered_;
  std::map<std::string, std::string> closed_updates_;
  uint32_t empty_rounds_ = 0;             // in a row
  std::map<std::string, bool> reported_;  // kReporting: sites whose final state is known
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_ROUND_ENGINE_H_
