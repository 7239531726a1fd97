#include "sim/sim_coordinator.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "coordinator/audit/audited_journal.h"
#include "coordinator/journal/open_journal.h"

namespace tributary::sim {
namespace {

// What a supervisor waits before it starts a process again that could not start.
constexpr absl::Duration kRetry = absl::Seconds(5);

}  // namespace

SimCoordinator::SimCoordinator(World* world, SimDisk* disk, Witness* witness, v1::CoordinatorConfig config, absl::Duration tick)
    : world_(world),
      clock_(world, tick),
      disk_(disk),
      witness_(witness),
      config_(std::move(config)),
      sites_({config_.sites().begin(), config_.sites().end()}) {
  witness_->files = disk_->OpenStore("snapshots");
}

SimCoordinator::~SimCoordinator() {
  coordinator_.reset();
  journal_.reset();
}

absl::Status SimCoordinator::Open() {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<coordinator::Journal> journal, coordinator::OpenSqliteJournal("journal.db", nullptr, *disk_));
  witness_->Compare(*journal);
  if (wrap_journal) {
    journal = wrap_journal(std::move(journal));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(journal, coordinator::AuditedJournal::Over(std::move(journal), &clock_, config_.federation()));
  journal_ = witness_->Watch(std::move(journal));
  snapshots_ = disk_->OpenStore("snapshots");
  coordinator::Coordinator::Dependencies dependencies;
  dependencies.clock = &clock_;
  dependencies.sites = &sites_;
  dependencies.journal = journal_.get();
  dependencies.snapshots = snapshots_.get();
  dependencies.post_after = [this, life = life_](absl::Duration delay, std::function<void()> work) {
    world_->After(delay, "coordinator's timer", -1, [this, life, work = std::move(work)] {
      if (life == life_ && up()) {
        Call([&](coordinator::Coordinator&) { work(); });
      }
    });
  };
  dependencies.fatal = [this](const absl::Status& status) { fatal_ = status; };
  TRIBUTARY_ASSIGN_OR_RETURN(coordinator_, coordinator::Coordinator::Create(config_, std::move(dependencies)));
  return absl::OkStatus();
}

void SimCoordinator::Start() {
  ++life_;
  fatal_ = absl::OkStatus();
  draining_ = false;
  const absl::Status opened = Open();
  if (world_->tracing) {
    world_->Trace(-1, absl::StrCat("starts: ", opened.ToString()));
  }
  if (opened.ok() && fatal_.ok() && !disk_->dead()) {
    return;
  }
  const absl::Status why = opened.ok() ? fatal_ : opened;
  if (!disk_->dead() && ExitCodeOf(why) != ExitCode::kStorage) {
    world_->Violate("the coordinator starts again", why.ToString());
    return;
  }
  const bool died = disk_->dead();
  coordinator_.reset();
  journal_.reset();
  snapshots_.reset();
  if (died) {
    disk_->Restart(world_->random.Chance(0.5) ? SimDisk::Loss::kUnsynced : SimDisk::Loss::kNothing);
  }
  world_->After(died ? restart_delay : kRetry, "coordinator starts", -1, [this, number = ++start_number_] {
    if (number == start_number_) {
      Start();
    }
  });
}

void SimCoordinator::End() {
  coordinator_.reset();
  journal_.reset();
  snapshots_.reset();
  spools.clear();
  completed.clear();
  ++life_;
  if (on_end) {
    on_end();
  }
}

void SimCoordinator::Kill(SimDisk::Loss loss, absl::Duration delay) {
  if (!up()) {
    return;
  }
  if (world_->tracing) {
    world_->Trace(-1, "is killed");
  }
  disk_->Die();  // so that closing the journal, as no killed process does, writes nothing
  End();
  disk_->Restart(loss);
  world_->After(delay, "coordinator starts", -1, [this, number = ++start_number_] {
    if (number == start_number_) {
      Start();
    }
  });
}

void SimCoordinator::Drain(absl::Duration delay) {
  if (!up() || draining_) {
    return;
  }
  draining_ = true;
  Call([this, delay](coordinator::Coordinator& coordinator) {
    coordinator.Drain([this, delay, life = life_] {
      // What it has sent leaves before it ends.
      world_->After(absl::Milliseconds(10), "coordinator has drained", -1, [this, delay, life] {
        if (life != life_) {
          return;
        }
        End();
        if (disk_->dead()) {
          disk_->Restart(SimDisk::Loss::kNothing);
        }
        world_->After(delay, "coordinator starts", -1, [this, number = ++start_number_] {
          if (number == start_number_) {
            Start();
          }
        });
      });
    });
  });
}

void SimCoordinator::Call(const std::function<void(coordinator::Coordinator&)>& work) {
  work(*coordinator_);
  if (disk_->dead()) {
    Kill(world_->random.Chance(0.5) ? SimDisk::Loss::kUnsynced : SimDisk::Loss::kNothing, restart_delay);
  } else if (!fatal_.ok()) {
    if (world_->tracing) {
      world_->Trace(-1, absl::StrCat("gives up: ", fatal_.ToString()));
    }
    Kill(SimDisk::Loss::kNothing, kRetry);
  }
}

}  // namespace tributary::sim
