#include "worker/worker.h"

#include <atomic>
#include <deque>
#include <future>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/certificate_files.h"
#include "common/certificate_watch.h"
#include "common/excerpt.h"
#include "common/executor.h"
#include "common/exit_codes.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "common/tls.h"
#include "common/wire_size.h"
#include "proto/config/reload.h"
#include "worker/certificate_renewal.h"
#include "worker/consent.h"
#include "worker/outgoing_updates.h"
#include "worker/progress_log.h"
#include "worker/quiet_hours.h"
#include "worker/saved_state.h"
#include "worker/session_client.h"
#include "worker/state_folder.h"
#include "worker/status_page.h"
#include "worker/worker_engine.h"
#include "worker/worker_pages.h"
#include "worker/worker_setup.h"

namespace tributary::worker {
namespace {

constexpr absl::string_view kComponent = "worker";
constexpr absl::Duration kInsecureReminder = absl::Minutes(1);
// What a piece of work may still take when the worker ends.
constexpr absl::Duration kLastWork = absl::Seconds(10);
constexpr size_t kNotesShown = 12;
// Timers are set on the executor's clock; one that is early by rounding must not spin.
constexpr absl::Duration kShortestTimer = absl::Milliseconds(1);

}  // namespace

// Carries out the engine's actions: sessions and transfers through client_, work through training_ on the TrainingRun; answers come back
// as events.
class Worker::Impl {
 public:
  Impl(WorkerOptions options, const QuietHours& hours, StateFolder folder, std::shared_ptr<CertificateFiles> certificates,
       std::optional<TreeHeads> heads)
      : options_(std::move(options)),
        hours_(hours),
        folder_(std::move(folder)),
        certificates_(std::move(certificates)),
        heads_(std::move(heads)),
        metrics_(options_.config.site(), options_.software_version, options_.config.state_dir()),
        engine_(EngineOptionsOf(options_, hours, folder_.saved_runs)),
        executor_("worker"),
        training_("training"),
        client_(ClientOptionsOf(options_, certificates_, folder_.worker_secret), &executor_,
                {.message =
                     [this](uint64_t session, v1::CoordinatorMessage message) {
                       TakeHead(message);
                       Handle(event::MessageArrived{session, std::move(message)});
                     },
                 .closed =
                     [this](uint64_t session, absl::Status status) {
                       Handle(event::SessionClosed{session, std::move(status)});
                     },
                 .downloaded =
                     [this](uint64_t transfer, absl::StatusOr<std::string> bytes, uint64_t arrived) {
                       metrics_.ObserveStep(StepPhase::kDownload, absl::ToDoubleSeconds(options_.clock->Now() - download_began_));
                       Handle(event::Downloaded{transfer, std::move(bytes), arrived});
                     },
                 .uploaded =
                     [this](uint64_t transfer, absl::Status status, uint64_t arrived) {
                       metrics_.ObserveStep(StepPhase::kUpload, absl::ToDoubleSeconds(options_.clock->Now() - upload_began_));
                       Handle(event::Uploaded{transfer, std::move(status), arrived});
                     },
                 .moved =
                     [this](ByteDirection direction, ByteKind kind, uint64_t bytes) {
                       metrics_.CountMessage(direction, kind, bytes);
                       progress_.Moved(direction, WireSize(bytes));
                     }}) {}

  ~Impl() {
    Shutdown();
    // What waits behind the piece of work under way is not worth doing any more.
    stopping_ = true;
    training_.Stop();
  }

  void WatchCertificates() {
    if (certificates_ == nullptr) {
      return;
    }
    certificate_watch_ = std::make_unique<CertificateWatch>(certificates_, WatchOptionsOf(&metrics_));
    certificate_renewal_ = std::make_unique<CertificateRenewal>(RenewalOptionsOf(options_, certificates_));
  }

  absl::Status StartPages() {
    TRIBUTARY_ASSIGN_OR_RETURN(pages_, WorkerPages::Start({.options = &options_,
                                                           .metrics = &metrics_,
                                                           .hours = hours_,
                                                           .certificates = certificates_,
                                                           .executor = &executor_,
                                                           .tell = [this](WorkerStanding& standing) { Tell(standing); }}));
    return absl::OkStatus();
  }

  absl::Status Run() {
    executor_.Post([this] {
      if (options_.insecure) {
        RemindOfInsecurity();
      }
      Handle(event::Tick{});
    });
    ended_.get_future().wait();
    Shutdown();
    KeepRun();
    return exit_status_;
  }

  absl::Status Reload(const v1::WorkerConfig& config) {
    TRIBUTARY_RETURN_IF_ERROR(ValidateConsent(config.consent()));
    if (certificate_watch_ != nullptr) {
      TRIBUTARY_RETURN_IF_ERROR(certificate_watch_->MoveTo(FilesOf(config.tls())));
    }
    const std::lock_guard<std::mutex> lock(reload_mutex_);
    const Reloaded reloaded = TakeOver(config, {"tls", "consent", "log_level", "log_format"}, &in_force_);
    if (reloaded.Took("consent")) {
      executor_.Post([this, consent = config.consent()] { Handle(event::ConsentChanged{consent}); });
    }
    LogInfo(kComponent, reloaded.Text());
    return absl::OkStatus();
  }

  void RequestStop(const std::string& reason) {
    executor_.Post([this, reason] { Handle(event::StopRequested{reason}); });
  }

  bool training() const { return pieces_of_work_ > 0; }
  std::string metrics_address() const { return pages_->metrics_address(); }
  std::string status_address() const { return pages_->status_address(); }
  const WorkerMetrics& metrics() const { return metrics_; }

 private:
  void Shutdown() {
    if (std::exchange(shut_down_, true)) {
      return;
    }
    client_.Shutdown();
    if (pages_ != nullptr) {
      pages_->CloseStatusPage();
    }
    executor_.Stop();
  }

  // On the executor.
  void Tell(WorkerStanding& standing) {
    standing.connected = engine_.connected();
    standing.run = run_name_;
    if (engine_.held().has_value()) {
      standing.round = engine_.held()->round;
    }
    standing.notes.assign(notes_.rbegin(), notes_.rend());
    const std::lock_guard<std::mutex> lock(reload_mutex_);
    standing.config = in_force_;
  }

  void TakeHead(const v1::CoordinatorMessage& message) {
    const bool is_head = message.has_tree_head() && heads_.has_value();
    const absl::Status good = is_head ? heads_->Take(message.tree_head(), options_.clock->WallNow()) : absl::OkStatus();
    Warn(good);
    if (!good.ok() && ExitCodeOf(good) != ExitCode::kStorage) {
      Handle(event::StopRequested{"the coordinator's audit log contradicts what this site holds of it", good});
    }
  }

  // A stop that was asked for costs nothing, unless the work under way takes long: whoever stops a service does not wait long.
  void KeepRun() {
    if (options_.config.persist() == v1::EVERY_ROUND) {
      return;
    }
    auto kept = std::make_shared<std::promise<void>>();
    ++pieces_of_work_;
    training_.Post([this, kept] {
      if (!stopping_ && run_ != nullptr) {
        Warn(run_->Keep());
      }
      --pieces_of_work_;
      kept->set_value();
    });
    if (kept->get_future().wait_for(absl::ToChronoSeconds(kLastWork)) != std::future_status::ready) {
      LogWarning(kComponent, "the training step takes long and is cut off; what was learned since the state was last saved is lost");
    }
  }

  static void Warn(const absl::Status& status) {
    if (!status.ok()) {
      LogWarning(kComponent, status.message());
    }
  }

  void RemindOfInsecurity() {
    LogWarning(kComponent, "--insecure: the connection to ", options_.config.coordinator(),
               " is neither encrypted nor authenticated; anyone on the path can read and forge it");
    executor_.PostAfter(kInsecureReminder, [this] { RemindOfInsecurity(); });
  }

  // On the executor.
  void Handle(Event event) {
    for (Action& action : engine_.Handle(std::move(event), options_.clock->Now())) {
      reason_ = std::move(action.reason);
      std::visit([this](auto& what) { Do(what); }, action.what);
    }
    metrics_.SetSession(engine_.connected() ? SessionStanding::kOpen : SessionStanding::kNone);
    SetTimer();
  }

  void SetTimer() {
    const absl::Time wakeup = engine_.NextWakeup();
    if (wakeup >= timer_) {
      return;  // also when there is nothing to wait for
    }
    timer_ = wakeup;
    executor_.PostAfter(std::max(wakeup - options_.clock->Now(), kShortestTimer), [this, wakeup] {
      if (timer_ != wakeup) {
        return;  // an earlier one was set since
      }
      timer_ = absl::InfiniteFuture();
      Handle(event::Tick{});
    });
  }

  // Does `work` on the training thread, and `then` with its result on the executor.
  template <typename Result>
  void OnTrainingThread(std::function<Result(TrainingRun*)> work, std::function<void(Result)> then) {
    ++pieces_of_work_;
    training_.Post([this, work = std::move(work), then = std::move(then)] {
      if (!stopping_) {
        auto result = std::make_shared<Result>(work(run_.get()));
        executor_.Post([then, result] { then(std::move(*result)); });
      }
      --pieces_of_work_;
    });
  }

  void Debug() { Log(LogLevel::kDebug, kComponent, reason_); }

  void Do(const action::OpenSession& action) {
    Debug();
    client_.OpenSession(action.session);
  }
  void Do(const action::CloseSession& action) { client_.CloseSession(action.session); }
  void Do(action::Send& action) {
    if (action.message.has_update_skipped()) {
      metrics_.CountSkippedRound();
    }
    if (action.message.has_hello() && heads_.has_value()) {
      action.message.mutable_hello()->set_audit_size(heads_->size());
    }
    Warn(outgoing_.Prepare(client_.certificate().get(), action.message));
    Debug();
    client_.Send(action.session, std::move(action.message));
  }

  v1::WorkerConfig InForce() {
    const std::lock_guard<std::mutex> lock(reload_mutex_);
    return in_force_;
  }

  void Do(action::PrepareRun& action) {
    run_name_ = action.offer.spec().name();
    progress_.BeginRun(action.offer.spec().name(), options_.clock->Now());
    auto offer = std::make_shared<const v1::RunOffer>(std::move(action.offer));
    OnTrainingThread<event::RunPrepared>(
        [this, offer, work = action.work](TrainingRun*) {
          run_.reset();  // before the next one takes memory
          metrics_.BeginRun(offer->spec().name());
          auto run = TrainingRun::Create(InForce(), *offer,
                                         {.make_trainer = options_.make_trainer,
                                          .make_encoder = options_.make_encoder,
                                          .clock = options_.clock,
                                          .metrics = &metrics_,
                                          .store = folder_.store.get()});
          run_ = run.ok() ? *std::move(run) : nullptr;
          RemoveAbandoned(offer->run_id());
          return run_ == nullptr ? event::RunPrepared{work, run.status()}
                                 : event::RunPrepared{work, absl::OkStatus(), run_->TakePending(), run_->columns_digest()};
        },
        [this](event::RunPrepared prepared) { Handle(std::move(prepared)); });
  }
  // On the training thread.
  void RemoveAbandoned(const std::string& current_run) {
    const absl::StatusOr<std::vector<std::string>> removed = RemoveAbandonedStates(current_run, options_.clock->WallNow(), *folder_.store);
    if (!removed.ok()) {
      return LogWarning(kComponent, removed.status().message());
    }
    for (const std::string& run : *removed) {
      LogInfo(kComponent, "run ", run, ": removed its saved state: unused for a month, or of too many runs");
    }
  }
  void Do(const action::ReleaseRun& action) {
    run_name_.clear();
    OnTrainingThread<absl::Status>(
        [this, over = action.over](TrainingRun* run) {
          // A run that is not over may be offered again.
          const absl::Status status = !over.empty()    ? RemoveSavedState(over, *folder_.store)
                                      : run != nullptr ? run->Keep()
                                                       : absl::OkStatus();
          run_ = nullptr;
          metrics_.EndRun();
          return status;
        },
        Warn);
  }
  void Do(const action::InitializeState& action) {
    OnTrainingThread<absl::StatusOr<ReplicaPosition>>([](TrainingRun* run) { return run->InitializeFromSeed(); }, LoadedInto(action.work));
  }
  void Do(action::LoadSnapshot& action) {
    auto bytes = std::make_shared<const std::string>(std::move(action.bytes));
    OnTrainingThread<absl::StatusOr<ReplicaPosition>>([bytes](TrainingRun* run) { return run->LoadSnapshot(*bytes); },
                                                      LoadedInto(action.work));
  }
  std::function<void(absl::StatusOr<ReplicaPosition>)> LoadedInto(uint64_t work) {
    return [this, work](absl::StatusOr<ReplicaPosition> held) { Handle(event::SnapshotLoaded{work, std::move(held)}); };
  }
  void Do(action::ApplyCommits& action) {
    auto records = std::make_shared<std::vector<std::string>>(std::move(action.records));
    Debug();
    OnTrainingThread<event::CommitsApplied>(
        [records, work = action.work](TrainingRun* run) {
          event::CommitsApplied applied;
          applied.work = work;
          applied.status = run->ApplyCommits(std::move(*records), applied.held);
          return applied;
        },
        [this](event::CommitsApplied applied) { Handle(std::move(applied)); });
  }
  void Do(const action::Settle& action) {
    Log(LogLevel::kDebug, kComponent,
        absl::StrCat("round ", action.round, action.fate == UpdateFate::kIncluded ? " included: " : " not included: ", reason_));
    OnTrainingThread<bool>([fate = action.fate](TrainingRun* run) { return run->Settle(fate), true; }, [](bool) {});
  }
  void Do(const action::Train& action) {
    Debug();
    OnTrainingThread<absl::StatusOr<TrainedUpdate>>(
        [start = action.start](TrainingRun* run) { return run->Train(start); },
        [this, work = action.work, round = action.start.round()](absl::StatusOr<TrainedUpdate> update) {
          if (update.ok()) {
            progress_.Trained(round, update->report.train_loss());
          }
          Handle(event::Trained{work, std::move(update)});
        });
  }
  void Do(const action::ComputeAhead& action) {
    Debug();
    OnTrainingThread<absl::Status>(
        [start = action.start](TrainingRun* run) {
          run->ComputeAhead(start);
          return absl::OkStatus();
        },
        [this, work = action.work](absl::Status) { Handle(event::ComputedAhead{work}); });
  }
  void Do(const action::Evaluate& action) {
    OnTrainingThread<absl::StatusOr<Evaluation>>([](TrainingRun* run) { return run->Evaluate(); },
                                                 [this, work = action.work](absl::StatusOr<Evaluation> evaluation) {
                                                   Handle(event::Evaluated{work, std::move(evaluation)});
                                                 });
  }

  void Do(action::Download& action) {
    Debug();
    download_began_ = options_.clock->Now();
    client_.Download(action.transfer, std::move(action.request), action.max_bytes);
  }
  void Do(action::Upload& action) {
    Debug();
    upload_began_ = options_.clock->Now();
    Warn(outgoing_.Prepare(client_.certificate().get(), action.header));
    client_.Upload(action.transfer, std::move(action.header), std::move(action.payload));
  }
  void Do(const action::CancelTransfer& action) { client_.CancelTransfer(action.transfer); }
  void Do(const action::Count& action) {
    metrics_.CountReceipt(action.result);
    progress_.Settled(action.result, options_.clock->Now());
  }
  void Do(const action::CountMismatch&) { metrics_.CountHashMismatch(); }
  void Do(const action::Note& action) {
    progress_.Flush(options_.clock->Now());
    Log(action.level, kComponent, reason_);
    notes_.push_back({options_.clock->WallNow(), Excerpt(reason_)});
    if (notes_.size() > kNotesShown) {
      notes_.pop_front();
    }
  }
  void Do(const action::Exit& action) {
    exit_status_ = action.status;
    progress_.Flush(options_.clock->Now());
    LogInfo(kComponent, "ending: ", reason_);
    client_.FinishSession([this] { ended_.set_value(); });
  }

  const WorkerOptions options_;
  const QuietHours hours_;
  const StateFolder folder_;                              // its store: on the training thread
  const std::shared_ptr<CertificateFiles> certificates_;  // null: plaintext
  std::optional<TreeHeads> heads_;                        // on the executor; none: plaintext
  WorkerMetrics metrics_;
  std::unique_ptr<WorkerPages> pages_;

  std::mutex reload_mutex_;
  v1::WorkerConfig in_force_ = options_.config;  // with what was reloaded; under reload_mutex_

  // On the executor.
  WorkerEngine engine_;
  ProgressLog progress_;
  OutgoingUpdates outgoing_{options_.config, options_.clock};
  std::string run_name_;  // that it takes part in
  std::deque<WorkerNote> notes_;
  std::string reason_;
  absl::Time timer_ = absl::InfiniteFuture();
  absl::Time upload_began_, download_began_;  // the newest transfer each way: there is one at a time
  absl::Status exit_status_;
  std::promise<void> ended_;

  // On the training thread.
  std::unique_ptr<TrainingRun> run_;
  std::atomic<int> pieces_of_work_ = 0;
  std::atomic<bool> stopping_ = false;
  bool shut_down_ = false;
  SerialExecutor executor_;
  SerialExecutor training_;
  SessionClient client_;
  std::unique_ptr<CertificateWatch> certificate_watch_;
  std::unique_ptr<CertificateRenewal> certificate_renewal_;
};

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(WorkerOptions options) {
  TRIBUTARY_RETURN_IF_ERROR(ValidateConsent(options.config.consent()));
  TRIBUTARY_RETURN_IF_ERROR(CheckBandwidth(options.config.bandwidth()));
  if (!options.insecure && !options.config.has_tls()) {
    return absl::InvalidArgumentError("tls: the section is missing; without certificates the worker runs only with --insecure");
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const QuietHours hours, QuietHoursOf(options));
  std::shared_ptr<CertificateFiles> certificates;
  if (!options.insecure) {
    TRIBUTARY_ASSIGN_OR_RETURN(certificates, CertificateFiles::Open(FilesOf(options.config.tls()), IdentityOf(options.config)));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(StateFolder folder, OpenStateFolder(options.config.state_dir()));
  TRIBUTARY_ASSIGN_OR_RETURN(std::optional<TreeHeads> heads, OpenTreeHeads(options.config, certificates));
  auto impl = std::make_unique<Impl>(std::move(options), hours, std::move(folder), std::move(certificates), std::move(heads));
  TRIBUTARY_RETURN_IF_ERROR(impl->StartPages());
  impl->WatchCertificates();
  return std::unique_ptr<Worker>(new Worker(std::move(impl)));
}

Worker::Worker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Worker::~Worker() = default;
absl::Status Worker::Run() {
  return impl_->Run();
}
absl::Status Worker::Reload(const v1::WorkerConfig& config) {
  return impl_->Reload(config);
}
void Worker::RequestStop(const std::string& reason) {
  impl_->RequestStop(reason);
}
bool Worker::training() const {
  return impl_->training();
}
std::string Worker::metrics_address() const {
  return impl_->metrics_address();
}
std::string Worker::status_address() const {
  return impl_->status_address();
}
const WorkerMetrics& Worker::metrics() const {
  return impl_->metrics();
}

}  // namespace tributary::worker
