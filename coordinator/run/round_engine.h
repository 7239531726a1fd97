// What happens next in a run: a state machine from (event, now) to actions and a reason that a person can read.
//
// Pure: no network, threads, files, clock or randomness inside; the same events give the same actions. The Coordinator feeds it and
// carries out what it decides; tests and simulations drive it directly.
//
//   waiting ──enough ready sites──> collecting ──all in | quorum and deadline──> committing ──> waiting | reporting ──> over
// Every wait has a bound (wake_at) and says in reason() who is awaited and until when. Only a pause has none: it is the operator's.
#ifndef TRIBUTARY_COORDINATOR_RUN_ROUND_ENGINE_H_
#define TRIBUTARY_COORDINATOR_RUN_ROUND_ENGINE_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/run/membership.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

// One moment on both clocks: `now` (monotonic) decides, `wall` is for people.
struct Instant {
  absl::Time now;
  absl::Time wall;
};

// What the run asks of its rounds; v1.ParticipationSpec says what each field means.
struct RoundPolicy {
  uint64_t rounds = 1;
  uint32_t min_workers = 1;
  uint32_t max_workers = 4096;
  double quorum = 0.5;
  absl::Duration min_deadline = absl::Seconds(5);
  absl::Duration max_deadline = absl::Seconds(120);
  absl::Duration wait_timeout = absl::Minutes(10);
  // Round r asks for the validation loss of state[r-1] where r-1 is a multiple of this.
  uint64_t evaluate_every = 25;
  // Updates of round r are computed from state[r-2] (v1.RunSpec.pipeline).
  bool pipeline = false;
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
  // How long after their round's start the latest answers came, oldest first; of rounds with an evaluation [1] apart.
  std::array<std::vector<absl::Duration>, 2> arrivals = {};
};

// ---- Events ----
struct MembersChanged {};  // somebody connected, dropped, refused, left, or a lease ended
struct SiteReady {         // holds state[committed]
  std::string site;
};
struct UpdateAccepted {  // judged acceptable, valid, and durable
  std::string site;
  std::string digest;
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
  uint64_t round = 0;
};
struct RoundCommitted {  // answers CloseRound, once the commit is durable
  std::string state_hash;
};
struct StateReported {  // holds state[rounds], with the right hash
  std::string site;
};
struct StopRequested {
  std::string reason;
};
struct PauseRequested {
  std::string reason;
};
struct ResumeRequested {};
struct DrainRequested {};
struct TimePassed {};
using Event = std::variant<MembersChanged, SiteReady, UpdateAccepted, UpdateRefused, UpdateSkipped, UpdateCameLate, RoundCommitted,
                           StateReported, StopRequested, PauseRequested, ResumeRequested, DrainRequested, TimePassed>;

// ---- Actions, to be carried out in order ----
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
struct CloseRound {  // commit what was accepted, then Step(RoundCommitted)
  uint64_t round = 0;
  std::vector<std::string> included;
  std::vector<std::string> stragglers;  // members without an answer
};
struct EndRun {
  v1::RunState state = v1::RUN_STATE_UNSPECIFIED;
  std::string reason;
};
struct Drained {};  // no round is in flight and none will start
using Action = std::variant<StartRound, TellRound, CloseRound, EndRun, Drained>;

// What to do with an update, before its payload is looked at.
struct UpdateVerdict {
  enum class Kind {
    kAcceptable,
    kDuplicate,  // the same was accepted before: nothing to do, its receipt comes when the round closes
    kConflict,   // another one of this site was accepted before: that one counts, this one is dropped
    kLate,       // its round is closed: receipt LATE
    kWrongBase,  // computed from another state: receipt REJECTED, and the site must be resynchronised
    kRefused,    // not a member, no such round: receipt REJECTED
  };
  Kind kind = Kind::kRefused;
  std::string reason;
};

// Not thread-safe.
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
  bool IsMember(const std::string& site) const { return phase_ == Phase::kCollecting && members_.contains(site); }
  bool HoldsUpdateOf(const std::string& site) const;
  bool EvaluatesBase(uint64_t round) const { return (round - 1) % policy_.evaluate_every == 0; }
  // The deadline has passed and the quorum is not reached.
  bool short_of_quorum() const { return phase_ == Phase::kCollecting && deadline_passed_; }
  bool reporting() const { return phase_ == Phase::kReporting; }
  bool stopping() const { return stop_reason_.has_value(); }
  bool paused() const { return paused_.has_value(); }
  // Of the open round (or the one being committed).
  absl::Time round_start() const { return round_start_; }
  absl::Time deadline() const { return deadline_.at; }
  // As RunPosition's.
  std::array<std::vector<absl::Duration>, 2> arrivals() const;

 private:
  enum class Phase { kWaiting, kCollecting, kCommitting, kReporting, kDrained, kOver };
  // Until when, and the same for people.
  struct Bound {
    absl::Time at = absl::InfiniteFuture();
    std::string text;
  };
  struct Member {
    enum class Answer { kNone, kAccepted, kSkipped, kRefused };
    Answer answer = Answer::kNone;
    std::string digest;  // of an accepted payload
    std::string why;     // it was skipped or refused
  };
  struct Tally {
    uint32_t accepted = 0;
    std::vector<std::string> awaited;  // unanswered and may still come
    std::vector<std::string> gone;     // unanswered and left
  };
  static Bound BoundAfter(Instant at, absl::Duration wait);

  void Apply(const Event& event, Instant at, std::vector<Action>& actions);
  void Decide(const Membership& membership, Instant at, std::vector<Action>& actions);
  void DecideWaiting(const Membership& membership, Instant at, std::vector<Action>& actions);
  void DecideCollecting(const Membership& membership, Instant at, std::vector<Action>& actions);
  void DecideReporting(const Membership& membership, Instant at, std::vector<Action>& actions);
  void EnterAfterCommit(Instant at, std::vector<Action>& actions);
  void Open(const std::vector<std::string>& members, Instant at);
  // The open round with ready sites in place of the members that left without an answer. False: there are none, or too few.
  bool Reopen(const Membership& membership, Instant at, std::vector<Action>& actions);
  void Close(std::vector<Action>& actions);
  void End(v1::RunState state, std::string reason, std::vector<Action>& actions);

  std::vector<std::string> ChooseMembers(const Membership& membership) const;
  absl::Duration AdaptiveDeadline(uint64_t round) const;
  void NoteArrival(uint64_t round, absl::Duration after_start);
  uint32_t Quorum() const;
  Tally Count(const Membership& membership) const;
  std::vector<std::string> UnreportedSites(const Membership& membership) const;
  std::string WhyUnanswered() const;

  RoundPolicy policy_;
  Phase phase_ = Phase::kWaiting;
  uint64_t committed_ = 0;
  std::string state_hash_;
  std::string base_state_hash_;
  std::string reason_;
  v1::RunState end_state_ = v1::RUN_STATE_UNSPECIFIED;
  std::optional<std::string> stop_reason_;
  std::optional<std::string> paused_;  // why
  bool draining_ = false;

  std::map<std::string, Member> members_;  // of the open round
  absl::Time round_start_ = absl::InfinitePast();
  absl::Time last_round_start_ = absl::InfinitePast();
  Bound deadline_;  // of the open round
  Bound wait_;      // the bound after which waiting ends the run (kReporting: ends it as finished)
  bool deadline_passed_ = false;
  // Latest answers, counted from their round's start; rounds with an evaluation ([1]) take longer and are looked at by themselves.
  std::deque<absl::Duration> arrivals_[2];
  uint32_t empty_rounds_ = 0;             // in a row
  std::map<std::string, bool> reported_;  // kReporting: sites whose final state is known
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_ROUND_ENGINE_H_
