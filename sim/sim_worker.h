// One site's worker in a simulation: the real WorkerEngine and the real TrainingRun, on simulated time and network.
#ifndef TRIBUTARY_SIM_SIM_WORKER_H_
#define TRIBUTARY_SIM_SIM_WORKER_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "sim/network.h"
#include "sim/sim_disk.h"
#include "sim/witness.h"
#include "sim/world.h"
#include "worker/training_run.h"
#include "worker/worker_engine.h"

namespace tributary::sim {

// What a site does besides what it should; read by the trainer and by the worker.
struct Mischief {
  bool flip_bit = false;  // of the replica's parameters, when the trainer next sees them
  bool hostile = false;   // sends payloads that are not updates
};

struct SimWorkerOptions {
  int number = 0;
  v1::WorkerConfig config;
  worker::TrainerFactory make_trainer;
  // Time that one piece of training takes; every other piece of work takes a hundredth of it.
  absl::Duration training = absl::Milliseconds(500);
  // Not zero: training takes this for each local step instead.
  absl::Duration step_time;
  // It refuses a run that it cannot train, with this error.
  std::function<void(const absl::Status&)> on_misfit;
  // Of its disk (SimDisk::write_time).
  absl::Duration disk_write_time;
  // What its log keeps (worker/sent_log.h).
  uint64_t max_logged_payload = worker::kMaxLoggedPayload;
  // Not null: what goes wrong here.
  Mischief* mischief = nullptr;
};

// Not thread-safe.
class SimWorker final : public SitePort {
 public:
  SimWorker(World* world, Network* network, const Witness* witness, SimWorkerOptions options);
  ~SimWorker() override;

  // Starts its process; again after it has ended.
  void Start();
  // The process is gone, and what it had not sent; it starts again after `delay`. With a loss of power nobody tells the coordinator.
  void Kill(absl::Duration delay, SimDisk::Loss loss);
  // Where it keeps what it must not lose.
  SimDisk& disk() { return disk_; }
  // SIGSTOP.
  void Freeze(absl::Duration time);
  void RequestStop();

  bool running() const { return process_ != nullptr; }
  const std::optional<worker::ReplicaPosition>& held() const;
  const std::string& name() const { return options_.config.site(); }

  // SitePort
  void OnMessage(uint64_t session, v1::CoordinatorMessage message) override;
  void OnClosed(uint64_t session, const absl::Status& status) override;
  void OnDownloaded(uint64_t transfer, absl::StatusOr<std::string> bytes, uint64_t arrived) override;
  void OnUploaded(uint64_t transfer, const absl::Status& status, uint64_t arrived) override;
  absl::Duration FrozenFor() const override;

 private:
  // The world's, and what the disk takes.
  class DiskClock final : public Clock {
   public:
    DiskClock(const World* world, const SimDisk* disk) : world_(world), disk_(disk) {}
    absl::Time Now() const override { return world_->Now() + disk_->busy(); }
    absl::Time WallNow() const override { return world_->WallNow(); }

   private:
    const World* const world_;
    const SimDisk* const disk_;
  };

  // On which every look is one local step later than the last: a trainer looks once after each.
  class StepClock final : public Clock {
   public:
    StepClock(const Clock* clock, absl::Duration step) : clock_(clock), step_(step) {}
    absl::Time Now() const override { return clock_->Now() + (passed_ += step_); }
    absl::Time WallNow() const override { return clock_->WallNow(); }

   private:
    const Clock* const clock_;
    const absl::Duration step_;
    mutable absl::Duration passed_;
  };

  // What dies with the process.
  struct Process {
    explicit Process(worker::WorkerEngineOptions options) : engine(std::move(options)) {}
    struct Piece {
      absl::Duration time;
      std::function<void()> work;
    };
    worker::WorkerEngine engine;
    std::unique_ptr<FileStore> store;
    std::string secret;
    std::unique_ptr<worker::TrainingRun> run;
    std::deque<Piece> pieces;
    bool busy = false;
    absl::Time timer = absl::InfiniteFuture();
    std::string run_id;     // prepared
    bool damaged = false;   // a bit was flipped, and no snapshot loaded since
    std::string last_hash;  // of the state held, as last checked
  };

  void Handle(worker::Event event);
  void SetTimer();
  void Do(absl::Duration time, std::function<void()> work);
  void Train(uint64_t work, const v1::RoundStart& start);
  void Pump();
  // Does `work` in this process, when it is not stopped.
  void Later(absl::Duration delay, const char* what, std::function<void()> work);
  void CarryOut(worker::Action& action);
  void Retry();
  void CheckHeld();
  void CheckSettled(uint64_t round, bool included);

  World* const world_;
  Network* const network_;
  const Witness* const witness_;
  const SimWorkerOptions options_;
  SimDisk disk_;
  DiskClock clock_{world_, &disk_};
  StepClock step_clock_{&clock_, options_.step_time};
  std::unique_ptr<Process> process_;
  uint64_t life_ = 0;
  absl::Time frozen_until_ = absl::InfinitePast();
};

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_SIM_WORKER_H_
