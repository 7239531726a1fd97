// The engine's promises to its driver, on long random walks: a coordinator that says anything at any time, a line that breaks, work and
// transfers that fail, quiet hours. The engine asserts its invariants after every event (worker_engine.h); here they must hold, for nothing
// that comes from outside may end the process, and so must what only the driver can see.
#include <algorithm>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "common/overloaded.h"
#include "tests/worker/engine_driver.h"
#include "worker/worker_engine.h"

namespace tributary::worker {
namespace {

constexpr int kWalks = 300;
constexpr int kSteps = 400;
constexpr uint64_t kRounds = 5;

// A driver that keeps the contract, and nothing else.
class Walk {
 public:
  explicit Walk(uint64_t seed) : random_(seed) { Restart(); }

  void Step() {
    switch (Below(10)) {
      case 0:
        now_ += absl::Milliseconds(Below(20'000));
        return Feed(event::Tick{});
      case 1:
        now_ = std::max(now_, std::min(engine_->NextWakeup(), now_ + absl::Minutes(1)));
        return Feed(event::Tick{});
      case 2:
        quiet_ = Chance(0.02);
        if (Chance(0.01)) {
          return Feed(event::ConsentChanged{AnyConsent()});
        }
        return session_ != 0 && Chance(0.1) ? Lose() : Feed(event::Tick{});
      case 3:
      case 4:
        return work_.empty() ? Feed(event::Tick{}) : FinishWork();
      case 5:
        return transfers_.empty() ? Feed(event::Tick{}) : EndTransfer();
      default:
        if (!work_.empty() && Chance(0.6)) {
          return FinishWork();
        }
        if (!transfers_.empty() && Chance(0.6)) {
          return EndTransfer();
        }
        return session_ == 0 ? Feed(event::Tick{}) : Feed(event::MessageArrived{session_, AnyMessage()});
    }
  }

  // What the walks came across together, so that a test can tell that they were worth taking.
  int trained = 0;
  int uploaded = 0;
  int applied = 0;
  int exits = 0;

 private:
  struct Transfer {
    uint64_t number = 0;
    bool upload = false;
    uint64_t records = 0;  // a download of that many; 0: a snapshot
  };

  uint64_t Below(uint64_t bound) { return random_() % bound; }
  bool Chance(double p) { return static_cast<double>(Below(1000)) < p * 1000; }
  uint64_t AnyRound() { return Below(kRounds + 1); }
  std::string AnyRun() { return Chance(0.98) ? run_ : "another-run"; }
  std::string AnyHash(uint64_t round) { return Chance(0.95) ? HashOf(round) : "another hash"; }
  absl::Status AnyError() {
    switch (Below(6)) {
      case 0:
        return absl::InternalError("x");
      case 1:
        return absl::DataLossError("x");
      case 2:
        return absl::NotFoundError("x");
      case 3:
        return absl::FailedPreconditionError("x");
      case 4:
        return absl::ResourceExhaustedError("x");
      default:
        return absl::UnavailableError("x");
    }
  }

  v1::ConsentConfig AnyConsent() {
    v1::ConsentConfig consent = MakeConsent();
    if (Chance(0.5)) {
      consent.set_runs(0, "another");
    }
    return consent;
  }

  void Restart() {
    WorkerEngineOptions options = EngineDriver::DefaultOptions();
    options.quiet_until = [this] { return quiet_ ? std::make_optional<std::string>("06:00") : std::nullopt; };
    engine_ = std::make_unique<WorkerEngine>(std::move(options));
    session_ = 0;
    work_.clear();
    transfers_.clear();
    round_ = 0;
    Feed(event::Tick{});
  }

  void Feed(Event event) {
    for (Action& action : engine_->Handle(std::move(event), now_)) {
      ASSERT_FALSE(exited_) << "after Exit: " << action.reason;
      std::visit(
          Overloaded{
              [&](action::OpenSession& open) {
                ASSERT_EQ(session_, 0u);
                session_ = open.session;
                next_ = v1::CoordinatorMessage::kWelcome;
              },
              [&](action::CloseSession& close) {
                if (close.session == session_) {
                  session_ = 0;
                }
              },
              [&](action::Send& send) {
                ASSERT_TRUE(send.session == session_) << action.reason;
                if (send.message.has_run_answer()) {
                  next_ = v1::CoordinatorMessage::kSyncPlan;
                }
                if (send.message.has_ready()) {
                  next_ = Chance(0.7) ? v1::CoordinatorMessage::kRoundStart : v1::CoordinatorMessage::kSyncPlan;
                }
                if (send.message.has_update()) {
                  next_ = v1::CoordinatorMessage::kCommit;
                }
              },
              [&](action::ReleaseRun&) { work_.clear(); },
              [&](action::Settle&) {},
              [&](action::Download& download) {
                const v1::CommitRange& commits = download.request.commits();
                if (!download.request.has_commits()) {
                  snapshot_round_ = download.request.snapshot_round();
                }
                transfers_.push_back({download.transfer, false, download.request.has_commits() ? commits.last() - commits.first() + 1 : 0});
              },
              [&](action::Upload& upload) {
                transfers_.push_back({upload.transfer, true, 0});
              },
              [&](action::CancelTransfer& cancel) {
                ASSERT_EQ(std::erase_if(transfers_, [&](const Transfer& transfer) { return transfer.number == cancel.transfer; }), 1u);
              },
              [&](action::Count&) {},
              [&](action::CountMismatch&) {},
              [&](action::Note&) {},
              [&](action::Exit&) { exited_ = true; },
              [&](auto& work) {
                ASSERT_TRUE(work_.empty()) << "two pieces of work at once: " << action.reason;
                work_.push_back(work);
              },
          },
          action.what);
    }
    if (std::exchange(exited_, false)) {
      ++exits;
      Restart();
    }
  }

  void Lose() { Feed(event::SessionClosed{std::exchange(session_, 0), AnyError()}); }

  void FinishWork() {
    const auto work = std::move(work_.front());
    work_.pop_front();
    const bool fails = Chance(0.1);
    std::visit(
        Overloaded{
            [&](const action::PrepareRun& prepare) {
              Feed(event::RunPrepared{prepare.work, fails ? AnyError() : absl::OkStatus()});
            },
            [&](const action::InitializeState& initialize) { Load(initialize.work, 0, fails); },
            [&](const action::LoadSnapshot& load) { Load(load.work, Chance(0.9) ? snapshot_round_ : AnyRound(), fails); },
            [&](const action::ApplyCommits& apply) {
              if (!fails) {
                round_ += apply.records.size();
              }
              ++applied;
              Feed(event::CommitsApplied{apply.work, fails ? AnyError() : absl::OkStatus(), {round_, AnyHash(round_), HashOf(round_ - 1)}});
            },
            [&](const action::Train& train) {
              ++trained;
              if (fails) {
                return Feed(event::Trained{train.work, AnyError()});
              }
              TrainedUpdate update;
              update.payload = std::make_shared<const std::string>(Chance(0.5) ? 10 : 2000, 'x');
              Feed(event::Trained{train.work, std::move(update)});
            },
            [&](const action::ComputeAhead& ahead) { Feed(event::ComputedAhead{ahead.work}); },
            [&](const action::Evaluate& evaluate) {
              Feed(event::Evaluated{evaluate.work, fails ? absl::StatusOr<Evaluation>(AnyError()) : Evaluation{1.0, {}}});
            },
        },
        work);
  }
  void Load(uint64_t work, uint64_t round, bool fails) {
    if (fails) {
      return Feed(event::SnapshotLoaded{work, AnyError()});
    }
    round_ = round;
    Feed(event::SnapshotLoaded{work, ReplicaPosition{round, AnyHash(round)}});
  }

  void EndTransfer() {
    const size_t which = Below(transfers_.size());
    const Transfer transfer = transfers_[which];
    transfers_.erase(transfers_.begin() + static_cast<ptrdiff_t>(which));
    const bool fails = Chance(0.3);
    if (transfer.upload) {
      ++uploaded;
      return Feed(event::Uploaded{transfer.number, fails ? AnyError() : absl::OkStatus(), Below(3)});
    }
    if (fails) {
      return Feed(event::Downloaded{transfer.number, AnyError(), Below(3)});
    }
    std::string bytes;
    for (uint64_t i = Chance(0.9) ? 0 : 1; i < transfer.records; ++i) {
      bytes += std::string("\1\0\0\0r", 5);
    }
    Feed(event::Downloaded{transfer.number, std::move(bytes), 3});
  }

  v1::CoordinatorMessage AnyMessage() {
    v1::CoordinatorMessage message;
    const uint64_t round = Chance(0.7) ? round_ + Below(2) : AnyRound();
    // Most of the time what a coordinator would say next.
    static constexpr v1::CoordinatorMessage::BodyCase kAll[] = {v1::CoordinatorMessage::kWelcome,  v1::CoordinatorMessage::kRunOffer,
                                                                v1::CoordinatorMessage::kSyncPlan, v1::CoordinatorMessage::kRoundStart,
                                                                v1::CoordinatorMessage::kReceipt,  v1::CoordinatorMessage::kCommit,
                                                                v1::CoordinatorMessage::kRunEnd,   v1::CoordinatorMessage::kDrain};
    const v1::CoordinatorMessage::BodyCase body = Chance(0.8) ? next_ : kAll[Below(std::size(kAll))];
    switch (body) {
      case v1::CoordinatorMessage::kWelcome:
        next_ = v1::CoordinatorMessage::kRunOffer;
        message.mutable_welcome()->set_lease_ms(30'000);
        message.mutable_welcome()->set_max_inline_bytes(static_cast<uint32_t>(Below(2) * 1000));
        break;
      case v1::CoordinatorMessage::kRunOffer:
        run_ = Chance(0.95) ? "run-1" : "run-2";
        next_ = v1::CoordinatorMessage::kRoundStart;
        message.mutable_run_offer()->set_run_id(run_);
        *message.mutable_run_offer()->mutable_spec() = MakeSpec(Chance(0.95) ? "bible-1" : "another");
        break;
      case v1::CoordinatorMessage::kSyncPlan: {
        next_ = v1::CoordinatorMessage::kRoundStart;
        v1::SyncPlan& plan = *message.mutable_sync_plan();
        plan =
            EngineDriver::PlanTo(round, Chance(0.1) || !engine_->held().has_value() ? std::make_optional(Below(round + 1)) : std::nullopt);
        plan.set_run_id(AnyRun());
        if (Chance(0.5)) {
          plan.mutable_last_receipt()->set_round(AnyRound());
          plan.mutable_last_receipt()->set_result(v1::Receipt::INCLUDED);
        }
        break;
      }
      case v1::CoordinatorMessage::kRoundStart: {
        v1::RoundStart& start = *message.mutable_round_start();
        start.set_run_id(AnyRun());
        start.set_round(round_ + 1);
        start.set_local_steps(static_cast<uint32_t>(1 + Below(5)));
        start.set_learning_rate(0.01f);
        start.set_base_round(Chance(0.8) ? round_ : AnyRound());
        start.set_base_state_hash(AnyHash(start.base_round()));
        start.set_update_held(Chance(0.1));
        start.set_next_local_steps(static_cast<uint32_t>(Below(3)));
        break;
      }
      case v1::CoordinatorMessage::kReceipt: {
        v1::Receipt& receipt = *message.mutable_receipt();
        receipt.set_run_id(AnyRun());
        receipt.set_round(round);
        receipt.set_result(static_cast<v1::Receipt::Result>(Below(4)));
        break;
      }
      case v1::CoordinatorMessage::kCommit: {
        next_ = v1::CoordinatorMessage::kRoundStart;
        v1::Commit& commit = *message.mutable_commit();
        commit.set_run_id(AnyRun());
        commit.set_round(Chance(0.8) ? round_ + 1 : round);
        if (Chance(0.7)) {
          commit.set_record("record");
        }
        if (Chance(0.8)) {
          commit.set_state_hash(AnyHash(round));
        }
        commit.set_report(Chance(0.3));
        break;
      }
      case v1::CoordinatorMessage::kRunEnd:
        next_ = v1::CoordinatorMessage::kRunOffer;
        message.mutable_run_end()->set_run_id(AnyRun());
        message.mutable_run_end()->set_state(Chance(0.5) ? v1::FINISHED : v1::STOPPED);
        message.mutable_run_end()->set_round(round);
        break;
      default:
        message.mutable_drain()->set_reconnect_after_ms(static_cast<uint32_t>(Below(1000)));
    }
    return message;
  }

  std::mt19937_64 random_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  bool quiet_ = false;
  std::unique_ptr<WorkerEngine> engine_;
  bool exited_ = false;
  uint64_t session_ = 0;
  v1::CoordinatorMessage::BodyCase next_ = v1::CoordinatorMessage::kWelcome;
  // Unanswered and not abandoned.
  std::deque<std::variant<action::PrepareRun, action::InitializeState, action::LoadSnapshot, action::ApplyCommits, action::Train,
                          action::ComputeAhead, action::Evaluate>>
      work_;
  std::vector<Transfer> transfers_;
  uint64_t round_ = 0;           // of the replica
  uint64_t snapshot_round_ = 0;  // of the newest download of one
  std::string run_ = "run-1";
};

TEST(WorkerEnginePromisesTest, HoldWhateverTheCoordinatorSaysAndWhateverFails) {
  int trained = 0, uploaded = 0, applied = 0, exits = 0;
  for (uint64_t seed = 1; seed <= kWalks; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Walk walk(seed);
    for (int step = 0; step < kSteps; ++step) {
      walk.Step();
      if (::testing::Test::HasFatalFailure()) {
        return;
      }
    }
    trained += walk.trained;
    uploaded += walk.uploaded;
    applied += walk.applied;
    exits += walk.exits;
  }
  // Or the walks went nowhere.
  EXPECT_GT(trained, 3 * kWalks);
  EXPECT_GT(uploaded, kWalks);
  EXPECT_GT(applied, 3 * kWalks);
  EXPECT_GT(exits, 0);
}

}  // namespace
}  // namespace tributary::worker
