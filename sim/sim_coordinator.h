// The coordinator's process in a simulation: the real Coordinator on the real journal, which starts, dies and starts again.
#ifndef TRIBUTARY_SIM_SIM_COORDINATOR_H_
#define TRIBUTARY_SIM_SIM_COORDINATOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/coordinator.h"
#include "coordinator/journal/journal.h"
#include "coordinator/site_registry.h"
#include "sim/sim_disk.h"
#include "sim/witness.h"
#include "sim/world.h"

namespace tributary::sim {

// Moves on by `tick` at each look, and with it the world.
class BusyClock final : public Clock {
 public:
  BusyClock(World* world, absl::Duration tick) : world_(world), tick_(tick) {}
  absl::Time Now() const override {
    world_->Pass(tick_);
    return world_->Now();
  }
  absl::Time WallNow() const override { return world_->WallNow(); }

 private:
  World* const world_;
  const absl::Duration tick_;
};

// A partial upload, as coordinator/rpc/upload_spools.h keeps it: in memory, for the process's life.
struct Spool {
  v1::UploadHeader header;
  std::string payload;
  std::unique_ptr<coordinator::UploadPlace> place;  // of the finished payload
  uint64_t owner = 0;                               // number of the upload that fills it
};

// Not thread-safe.
class SimCoordinator {
 public:
  // `tick`: of its clock.
  SimCoordinator(World* world, SimDisk* disk, Witness* witness, v1::CoordinatorConfig config, absl::Duration tick);
  ~SimCoordinator();

  // Starts the process, again and again until it serves.
  void Start();
  // The process has died; it is started again after `delay`.
  void Kill(SimDisk::Loss loss, absl::Duration delay);
  // SIGTERM, and a start after that.
  void Drain(absl::Duration delay);

  bool up() const { return coordinator_ != nullptr; }
  bool refuses_sessions() const { return draining_; }
  // Counts the processes: what was said to one means nothing to the next.
  uint64_t life() const { return life_; }
  // Whether what it does now still leaves the process.
  bool breathes() const { return !disk_->dead(); }

  // Runs `work` as one event of the process. If its disk died in it, or the coordinator gave up, so has the process.
  void Call(const std::function<void(coordinator::Coordinator&)>& work);
  // Not an event: looks, changes nothing.
  coordinator::Coordinator* get() { return coordinator_.get(); }

  // Called when a process has ended.
  std::function<void()> on_end;
  // Puts another journal before the real one: for planted defects.
  std::function<std::unique_ptr<coordinator::Journal>(std::unique_ptr<coordinator::Journal>)> wrap_journal;
  // How long a start takes after the process died by itself.
  absl::Duration restart_delay = absl::Seconds(1);

  // Of the transfer service; gone with the process.
  std::map<std::string, Spool> spools;            // by site
  std::map<std::string, v1::UploadId> completed;  // by site

 private:
  absl::Status Open();
  void End();

  World* const world_;
  BusyClock clock_;
  SimDisk* const disk_;
  Witness* const witness_;
  const v1::CoordinatorConfig config_;
  const coordinator::SiteRegistry sites_;
  std::unique_ptr<coordinator::Journal> journal_;
  std::unique_ptr<FileStore> snapshots_;
  std::unique_ptr<coordinator::Coordinator> coordinator_;
  uint64_t life_ = 0;
  uint64_t start_number_ = 0;
  absl::Status fatal_;
  bool draining_ = false;
};

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_SIM_COORDINATOR_H_
