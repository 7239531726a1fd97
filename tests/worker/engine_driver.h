// Plays the coordinator, the network and the training thread for a WorkerEngine, one event at a time.
#ifndef TRIBUTARY_TESTS_WORKER_ENGINE_DRIVER_H_
#define TRIBUTARY_TESTS_WORKER_ENGINE_DRIVER_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "proto/config/yaml.h"
#include "worker/worker_engine.h"

namespace tributary::worker {

inline v1::RunSpec MakeSpec(const std::string& name = "bible-1", const std::string& more = "") {
  v1::RunSpec spec;
  const absl::Status status = ParseYaml(absl::StrCat("name: ", name, R"(
rounds: 10
model: {mlp: {inputs: 2, hidden: [3], outputs: 2}}
data: {kind: csv, label_column: y}
optimizer: {mode: distro, learning_rate: {peak: 0.01}}
)",
                                                     more),
                                        "run.yaml", &spec);
  EXPECT_TRUE(status.ok()) << status;
  return spec;
}

inline v1::ConsentConfig MakeConsent() {
  v1::ConsentConfig consent;
  consent.add_runs("bible-*");
  consent.add_models("mlp");
  consent.set_max_local_steps(4);
  consent.set_max_rounds(100);
  consent.set_max_parameters(1000);
  consent.set_max_batch_size(65536);
  consent.set_max_evaluation_batches(1000000);
  return consent;
}

inline std::string HashOf(uint64_t round) {
  return absl::StrCat("hash of state ", round);
}

class EngineDriver {
 public:
  static WorkerEngineOptions DefaultOptions() {
    WorkerEngineOptions options;
    options.consent = MakeConsent();
    options.coordinator = "hub:1";
    options.software_version = "1.2.3";
    options.random = [] { return 0.0; };
    return options;
  }

  explicit EngineDriver(WorkerEngineOptions options = DefaultOptions()) : engine_(std::move(options)) {}

  // Feeds one event; its actions can then be asked for.
  EngineDriver& Feed(Event event) {
    actions_ = engine_.Handle(std::move(event), now_);
    for (const Action& action : actions_) {
      if (const auto* open = std::get_if<action::OpenSession>(&action.what)) {
        session_ = open->session;
      }
    }
    return *this;
  }
  EngineDriver& Tick() { return Feed(event::Tick{}); }
  EngineDriver& Advance(absl::Duration by) {
    now_ += by;
    return Tick();
  }
  // To the moment that the engine asked for.
  EngineDriver& AdvanceToWakeup() {
    now_ = engine_.NextWakeup();
    return Tick();
  }
  EngineDriver& Lose(absl::Status status = absl::UnavailableError("cable cut")) {
    return Feed(event::SessionClosed{session_, std::move(status)});
  }
  EngineDriver& Receive(v1::CoordinatorMessage message) { return Feed(event::MessageArrived{session_, std::move(message)}); }

  // What the last event led to.
  template <typename What>
  const What* Find() const {
    for (const Action& action : actions_) {
      if (const auto* what = std::get_if<What>(&action.what)) {
        return what;
      }
    }
    return nullptr;
  }
  // The reason of the first action of this kind; empty if there is none.
  template <typename What>
  std::string Reason() const {
    for (const Action& action : actions_) {
      if (std::holds_alternative<What>(action.what)) {
        return action.reason;
      }
    }
    return "";
  }
  // The first message sent of this kind.
  const v1::WorkerMessage* Sent(v1::WorkerMessage::BodyCase body) const {
    for (const Action& action : actions_) {
      const auto* send = std::get_if<action::Send>(&action.what);
      if (send != nullptr && send->message.body_case() == body) {
        return &send->message;
      }
    }
    return nullptr;
  }
  std::string Notes() const {
    std::string notes;
    for (const Action& action : actions_) {
      if (std::holds_alternative<action::Note>(action.what)) {
        absl::StrAppend(&notes, action.reason, "\n");
      }
    }
    return notes;
  }
  const std::vector<Action>& actions() const { return actions_; }

  // Steps of the conversation.
  EngineDriver& Welcome(uint64_t max_inline = 1000) {
    v1::CoordinatorMessage message;
    message.mutable_welcome()->set_lease_ms(30'000);
    message.mutable_welcome()->set_max_inline_bytes(max_inline);
    return Receive(std::move(message));
  }
  EngineDriver& Offer(v1::RunSpec spec = MakeSpec(), const std::string& run_id = "run-1") {
    v1::CoordinatorMessage message;
    message.mutable_run_offer()->set_run_id(run_id);
    *message.mutable_run_offer()->mutable_spec() = std::move(spec);
    return Receive(std::move(message));
  }
  EngineDriver& Prepare(absl::Status status = absl::OkStatus()) {
    return Feed(event::RunPrepared{TakeWork<action::PrepareRun>(), std::move(status)});
  }
  static v1::SyncPlan PlanTo(uint64_t target, std::optional<uint64_t> snapshot = std::nullopt) {
    v1::SyncPlan plan;
    plan.set_run_id("run-1");
    plan.set_target_round(target);
    plan.set_needs_snapshot(snapshot.has_value());
    plan.set_snapshot_round(snapshot.value_or(0));
    plan.set_first_commit(snapshot.value_or(0) + 1);
    return plan;
  }
  EngineDriver& Plan(v1::SyncPlan plan) {
    v1::CoordinatorMessage message;
    *message.mutable_sync_plan() = std::move(plan);
    return Receive(std::move(message));
  }
  EngineDriver& Start(uint64_t round, bool update_held = false, const std::string& base = "") {
    v1::CoordinatorMessage message;
    v1::RoundStart& start = *message.mutable_round_start();
    start.set_run_id("run-1");
    start.set_round(round);
    start.set_learning_rate(0.01f);
    start.set_local_steps(1);
    start.set_base_round(round - 1);
    start.set_base_state_hash(base.empty() ? HashOf(round - 1) : base);
    start.set_update_held(update_held);
    return Receive(std::move(message));
  }
  // The training thread is done with the Train that was seen last.
  EngineDriver& Train(const std::string& payload) {
    TrainedUpdate update;
    update.payload = std::make_shared<const std::string>(payload);
    update.sha256 = "digest of it";
    update.report.set_train_loss(2);
    return Feed(event::Trained{train_, std::move(update)});
  }
  // Remembers the Train among the last actions, to be answered later.
  bool Training() {
    const auto* train = Find<action::Train>();
    if (train == nullptr) {
      return false;
    }
    train_ = train->work;
    return true;
  }
  uint64_t train_work() const { return train_; }
  EngineDriver& Receipt(uint64_t round, v1::Receipt::Result result, const std::string& reason = "") {
    v1::CoordinatorMessage message;
    message.mutable_receipt()->set_run_id("run-1");
    message.mutable_receipt()->set_round(round);
    message.mutable_receipt()->set_result(result);
    message.mutable_receipt()->set_reason(reason);
    return Receive(std::move(message));
  }
  EngineDriver& Commit(uint64_t round, bool report = false, const std::string& record = "record") {
    v1::CoordinatorMessage message;
    message.mutable_commit()->set_run_id("run-1");
    message.mutable_commit()->set_round(round);
    message.mutable_commit()->set_record(record);
    message.mutable_commit()->set_state_hash(HashOf(round));
    message.mutable_commit()->set_report(report);
    return Receive(std::move(message));
  }
  EngineDriver& Applied(uint64_t round, const std::string& hash = "") {
    return Feed(event::CommitsApplied{TakeWork<action::ApplyCommits>(), absl::OkStatus(), {round, hash.empty() ? HashOf(round) : hash}});
  }
  EngineDriver& End(v1::RunState state, uint64_t round = 10) {
    v1::CoordinatorMessage message;
    message.mutable_run_end()->set_run_id("run-1");
    message.mutable_run_end()->set_state(state);
    message.mutable_run_end()->set_round(round);
    message.mutable_run_end()->set_state_hash(HashOf(round));
    message.mutable_run_end()->set_reason("because");
    return Receive(std::move(message));
  }

  // Connected, in the run, holding state[0].
  EngineDriver& Join(uint64_t max_inline = 1000) {
    Tick().Welcome(max_inline).Offer().Prepare().Plan(PlanTo(0, 0));
    return Feed(event::SnapshotLoaded{TakeWork<action::InitializeState>(), ReplicaPosition{0, HashOf(0)}});
  }
  // A new session after the last one broke, up to and with the plan.
  EngineDriver& Return(v1::SyncPlan plan, uint64_t max_inline = 1000) {
    return AdvanceToWakeup().Welcome(max_inline).Offer().Plan(std::move(plan));
  }

  // The number of the work that the last actions began.
  template <typename What>
  uint64_t TakeWork() const {
    const What* what = Find<What>();
    EXPECT_NE(what, nullptr) << "no such work was begun";
    return what == nullptr ? 0 : what->work;
  }

  WorkerEngine& engine() { return engine_; }
  absl::Time now() const { return now_; }
  uint64_t session() const { return session_; }

 private:
  WorkerEngine engine_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  std::vector<Action> actions_;
  uint64_t session_ = 0;
  uint64_t train_ = 0;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_TESTS_WORKER_ENGINE_DRIVER_H_
