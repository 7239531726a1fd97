#include "sim/sim_worker.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/overloaded.h"
#include "common/status_macros.h"
#include "worker/kept_secret.h"
#include "worker/quiet_hours.h"
#include "worker/saved_state.h"

namespace tributary::sim {
namespace {

// A process that ended with an error is started again by its supervisor.
constexpr absl::Duration kSupervisorDelay = absl::Seconds(2);

}  // namespace

namespace action = worker::action;
namespace event = worker::event;

SimWorker::SimWorker(World* world, Network* network, const Witness* witness, SimWorkerOptions options)
    : world_(world),
      network_(network),
      witness_(witness),
      options_(std::move(options)),
      disk_(world, absl::StrCat("disk of ", options_.config.site())) {
  disk_.write_time = options_.disk_write_time;
  network_->Attach(options_.number, options_.config.site(), this);
}

SimWorker::~SimWorker() = default;

void SimWorker::Start() {
  if (process_ != nullptr) {
    return;
  }
  worker::WorkerEngineOptions engine;
  engine.consent = options_.config.consent();
  engine.coordinator = options_.config.coordinator();
  engine.software_version = TRIBUTARY_VERSION;
  engine.random = [this] { return world_->random.Uniform(); };
  // As worker.cc does.
  if (options_.config.bandwidth().up() != 0) {
    engine.max_inline_bytes = options_.config.bandwidth().up();
  }
  if (options_.config.quiet_hours_size() > 0) {
    const std::vector<std::string> hours(options_.config.quiet_hours().begin(), options_.config.quiet_hours().end());
    engine.quiet_until = [this, quiet = *worker::QuietHours::Parse(hours, absl::UTCTimeZone()), was_quiet = false]() mutable {
      const std::optional<std::string> end = quiet.EndOf(world_->WallNow());
      if (!std::exchange(was_quiet, end.has_value()) && end.has_value()) {
        world_->CountFault("quiet hours begun");
      }
      return end;
    };
  }
  std::unique_ptr<FileStore> store = disk_.OpenStore("state");
  const absl::StatusOr<std::vector<std::string>> saved = worker::SavedRuns(*store);
  if (!saved.ok()) {
    Retry();
    return;
  }
  const absl::StatusOr<std::string> secret = worker::KeptSecret(*store, [this] {
    return DigestHex(Sha256(absl::StrCat(name(), " ", life_, " ", world_->Elapsed() / absl::Nanoseconds(1)))).substr(0, 32);
  });
  if (!secret.ok()) {
    Retry();
    return;
  }
  engine.saved_runs = *saved;
  process_ = std::make_unique<Process>(std::move(engine));
  process_->store = std::move(store);
  process_->secret = *secret;
  ++life_;
  world_->Record(name(), [&] { return "- starts"; });
  Handle(event::Tick{});
}

void SimWorker::Retry() {
  if (disk_.dead()) {
    disk_.Restart(world_->random.Chance(0.5) ? SimDisk::Loss::kUnsynced : SimDisk::Loss::kNothing);
  }
  world_->After(kSupervisorDelay, "worker starts", options_.number, [this, life = life_] {
    if (life == life_) {
      Start();
    }
  });
}

void SimWorker::Kill(absl::Duration delay, SimDisk::Loss loss) {
  if (process_ == nullptr) {
    return;
  }
  if (world_->tracing) {
    world_->Trace(options_.number, "is killed");
  }
  world_->Record(name(), [&] { return "- is killed"; });
  process_.reset();
  ++life_;
  frozen_until_ = absl::InfinitePast();
  disk_.Restart(loss);
  network_->WorkerDied(options_.number, loss == SimDisk::Loss::kUnsynced ? Death::kSilent : Death::kNoticed);
  world_->After(delay, "worker starts", options_.number, [this, life = life_] {
    if (life == life_) {
      Start();
    }
  });
}

void SimWorker::Freeze(absl::Duration time) {
  frozen_until_ = std::max(frozen_until_, world_->Now() + time);
}

void SimWorker::RequestStop() {
  if (process_ != nullptr) {
    Handle(event::StopRequested{"told to stop"});
  }
}

absl::Duration SimWorker::FrozenFor() const {
  return std::max(absl::ZeroDuration(), frozen_until_ - world_->Now());
}

const std::optional<worker::ReplicaPosition>& SimWorker::held() const {
  static const std::optional<worker::ReplicaPosition> kNothing;
  return process_ == nullptr ? kNothing : process_->engine.held();
}

void SimWorker::OnMessage(uint64_t session, v1::CoordinatorMessage message) {
  if (message.has_run_refused() && options_.on_misfit) {
    options_.on_misfit(
        WithExitCode(absl::FailedPreconditionError(absl::StrCat("site ", name(), ": ", message.run_refused().reason())), ExitCode::kData));
  }
  Handle(event::MessageArrived{session, std::move(message)});
}
void SimWorker::OnClosed(uint64_t session, const absl::Status& status) {
  Handle(event::SessionClosed{session, status});
}
void SimWorker::OnDownloaded(uint64_t transfer, absl::StatusOr<std::string> bytes, uint64_t arrived) {
  Handle(event::Downloaded{transfer, std::move(bytes), arrived});
}
void SimWorker::OnUploaded(uint64_t transfer, const absl::Status& status, uint64_t arrived) {
  Handle(event::Uploaded{transfer, status, arrived});
}

void SimWorker::Handle(worker::Event event) {
  if (process_ == nullptr) {
    return;
  }
  const uint64_t life = life_;
  for (worker::Action& action : process_->engine.Handle(std::move(event), world_->Now())) {
    CarryOut(action);
    if (life != life_) {
      return;
    }
  }
  CheckHeld();
  SetTimer();
}

void SimWorker::SetTimer() {
  const absl::Time wakeup = process_->engine.NextWakeup();
  if (wakeup == absl::InfiniteFuture()) {
    world_->Violate("every wait bounded", absl::StrCat(name(), " waits without bound"));
    return;
  }
  if (wakeup >= process_->timer) {
    return;
  }
  process_->timer = wakeup;
  Later(std::max(wakeup - world_->Now(), absl::Milliseconds(1)), "worker's timer", [this, wakeup] {
    if (process_->timer == wakeup) {
      process_->timer = absl::InfiniteFuture();
      Handle(event::Tick{});
    }
  });
}

void SimWorker::Later(absl::Duration delay, const char* what, std::function<void()> work) {
  world_->After(delay, what, options_.number, [this, what, life = life_, work = std::move(work)]() mutable {
    if (life != life_) {
      return;
    }
    if (const absl::Duration frozen = FrozenFor(); frozen > absl::ZeroDuration()) {
      Later(frozen, what, std::move(work));
    } else {
      work();
    }
  });
}

void SimWorker::Do(absl::Duration time, std::function<void()> work) {
  process_->pieces.push_back({time, std::move(work)});
  Pump();
}

// One piece of work at a time, in the order given, as on the training thread.
void SimWorker::Pump() {
  if (process_->busy || process_->pieces.empty()) {
    return;
  }
  process_->busy = true;
  Later(process_->pieces.front().time, "work is done", [this] {
    const auto work = std::move(process_->pieces.front().work);
    process_->pieces.pop_front();
    process_->busy = false;
    const uint64_t life = life_;
    work();
    if (life != life_) {
      return;
    }
    if (disk_.dead()) {
      Kill(kSupervisorDelay, world_->random.Chance(0.5) ? SimDisk::Loss::kUnsynced : SimDisk::Loss::kNothing);
    } else {
      Pump();
    }
  });
}

void SimWorker::CarryOut(worker::Action& action) {
  const absl::Duration quick = options_.training / 100;
  std::visit(
      Overloaded{
          [&](action::OpenSession& open) { network_->OpenSession(options_.number, open.session, process_->secret); },
          [&](action::CloseSession& close) { network_->CloseSession(options_.number, close.session); },
          [&](action::Send& send) {
            if (send.message.has_update() && options_.mischief->hostile) {
              std::string& payload = *send.message.mutable_update()->mutable_payload();
              world_->CountFault("hostile payloads");
              if (world_->random.Chance(0.3)) {
                send.message.mutable_update()->mutable_report()->set_samples(world_->random.Next() >> world_->random.Below(64));
              }
              for (uint64_t i = world_->random.Below(8) + 1; i > 0; --i) {
                payload[world_->random.Below(payload.size())] = static_cast<char>(world_->random.Next());
              }
            }
            network_->Send(options_.number, send.session, send.message);
          },
          [&](action::PrepareRun& prepare) {
            process_->run_id = prepare.offer.run_id();
            Do(quick, [this, work = prepare.work, offer = std::move(prepare.offer)] {
              process_->run.reset();
              const auto make_trainer = [this](worker::TrainerOptions options, const optim::Layout& layout) {
                options.clock = &step_clock_;
                return options_.make_trainer(options, layout);
              };
              absl::StatusOr<std::unique_ptr<worker::TrainingRun>> run =
                  worker::TrainingRun::Create(options_.config, offer,
                                              {.make_trainer = make_trainer,
                                               .clock = &clock_,
                                               .store = process_->store.get(),
                                               .max_logged_payload = options_.max_logged_payload});
              if (run.ok()) {
                process_->run = *std::move(run);
              } else if (options_.on_misfit && !absl::IsAborted(run.status())) {  // Aborted: its disk, which will be well again
                options_.on_misfit(Annotate(run.status(), absl::StrCat("run ", offer.spec().name(), " cannot be trained here")));
              }
              Handle(run.ok() ? event::RunPrepared{work, absl::OkStatus(), process_->run->TakePending(), process_->run->columns_digest()}
                              : event::RunPrepared{work, run.status()});
            });
          },
          [&](action::ReleaseRun& release) {
            Do(absl::ZeroDuration(), [this, over = release.over] {
              if (!over.empty()) {
                worker::RemoveSavedState(over, *process_->store).IgnoreError();  // tried again when the run is next heard of
              } else if (process_->run != nullptr) {
                process_->run->Keep().IgnoreError();  // costs the residual
              }
              process_->run.reset();
            });
          },
          [&](action::InitializeState& initialize) {
            Do(quick, [this, work = initialize.work] {
              process_->damaged = false;
              Handle(event::SnapshotLoaded{work, process_->run->InitializeFromSeed()});
            });
          },
          [&](action::LoadSnapshot& load) {
            Do(quick, [this, work = load.work, bytes = std::move(load.bytes)] {
              process_->damaged = false;
              Handle(event::SnapshotLoaded{work, process_->run->LoadSnapshot(bytes)});
            });
          },
          [&](action::ApplyCommits& apply) {
            Do(quick, [this, work = apply.work, records = std::move(apply.records)] {
              event::CommitsApplied applied;
              applied.work = work;
              applied.status = process_->run->ApplyCommits(records, applied.held);
              Handle(std::move(applied));
            });
          },
          [&](action::Settle& settle) {
            const bool included = settle.fate == worker::UpdateFate::kIncluded;
            CheckSettled(settle.round, included);
            if (world_->tracing) {
              world_->Trace(options_.number, absl::StrCat("settles round ", settle.round, included ? " included" : " not included"));
            }
            Do(absl::ZeroDuration(), [this, fate = settle.fate] { process_->run->Settle(fate); });
          },
          [&](action::Train& train) {
            const absl::Duration time = options_.step_time > absl::ZeroDuration()
                                            ? absl::ZeroDuration()
                                            : options_.training * (0.8 + 0.4 * world_->random.Uniform());
            Do(time, [this, work = train.work, start = std::move(train.start)] { Train(work, start); });
          },
          [&](action::ComputeAhead& ahead) {
            Do(options_.training, [this, work = ahead.work, start = std::move(ahead.start)] {
              process_->damaged |= options_.mischief->flip_bit;
              process_->run->ComputeAhead(start);
              Handle(event::ComputedAhead{work});
            });
          },
          [&](action::Evaluate& evaluate) {
            Do(quick, [this, work = evaluate.work] { Handle(event::Evaluated{work, process_->run->Evaluate()}); });
          },
          [&](action::Download& download) { network_->Download(options_.number, download.transfer, download.request, download.max_bytes); },
          [&](action::Upload& upload) {
            if (world_->tracing) {
              world_->Trace(options_.number, absl::StrCat("uploads round ", upload.header.id().round(), " as ", upload.transfer));
            }
            network_->Upload(options_.number, upload.transfer, upload.header, std::move(upload.payload));
          },
          [&](action::CancelTransfer& cancel) { network_->CancelTransfer(options_.number, cancel.transfer); },
          [&](action::Count&) {},
          [&](action::CountMismatch&) {},
          [&](action::Note&) {
            if (world_->tracing) {
              world_->Trace(options_.number, action.reason);
            }
          },
          [&](action::Exit& exit) {
            if (world_->tracing) {
              world_->Trace(options_.number, absl::StrCat("exits: ", exit.status.ToString()));
            }
            if (process_->run != nullptr && !process_->busy) {
              process_->run->Keep().IgnoreError();  // costs the residual
            }
            Kill(kSupervisorDelay, SimDisk::Loss::kNothing);
          },
      },
      action.what);
}

void SimWorker::Train(uint64_t work, const v1::RoundStart& start) {
  process_->damaged |= options_.mischief->flip_bit;
  absl::StatusOr<worker::TrainedUpdate> update = process_->run->Train(start);
  uint32_t steps = start.local_steps();
  if (update.ok() && update->report.local_steps() != 0) {
    steps = update->report.local_steps();
  }
  // How long it took is known afterwards.
  process_->pieces.push_front({options_.step_time * steps, [this, work, update = std::move(update)]() mutable {
                                 Handle(event::Trained{work, std::move(update)});
                               }});
}

// A state that a sound replica holds is the log's.
void SimWorker::CheckHeld() {
  const std::optional<worker::ReplicaPosition>& held = process_->engine.held();
  if (!held.has_value() || held->hash == process_->last_hash || process_->damaged) {
    return;
  }
  process_->last_hash = held->hash;
  const WitnessedRun* const run = witness_->Find(process_->run_id);
  if (run == nullptr || run->broken || run->states_taken_back.contains({held->round, held->hash})) {
    return;
  }
  if (held->round > run->round()) {
    world_->Violate("no commit before it is durable",
                    absl::StrCat(name(), " holds round ", held->round, ", acknowledged is ", run->round()));
  } else if (held->hash != run->hashes[held->round]) {
    world_->Violate("replicas with equal round have equal hash",
                    absl::StrCat(name(), " holds ", absl::BytesToHexString(held->hash).substr(0, 16), " at round ", held->round,
                                 ", the log ", absl::BytesToHexString(run->hashes[held->round]).substr(0, 16)));
  }
}

// What a site takes out of its residual is what was included, and nothing else: or gradients are lost, or count twice.
void SimWorker::CheckSettled(uint64_t round, bool included) {
  const WitnessedRun* const run = witness_->Find(process_->run_id);
  if (run == nullptr || run->broken) {
    return;
  }
  const std::string where = absl::StrCat(name(), " settles round ", round, included ? " as included" : " as not included");
  if (included && !run->Included(name(), round) && !run->updates_taken_back.contains({round, name()})) {
    world_->Violate("a receipt tells the truth", absl::StrCat(where, "; no commit holds it"));
  }
  if (!included && run->Included(name(), round)) {
    world_->Violate("none applied twice", absl::StrCat(where, "; its commit holds it"));
  }
  if (!included && run->open.has_value() && run->open->round == round && !run->over()) {
    for (const coordinator::JournaledUpdate& update : run->updates) {
      if (update.site == name()) {
        world_->Violate("none applied twice", absl::StrCat(where, "; the open round holds it"));
      }
    }
  }
}

}  // namespace tributary::sim
