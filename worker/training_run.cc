#include "worker/training_run.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/cpu_limits.h"
#include "common/exit_codes.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "optim/apply.h"
#include "optim/commit.h"
#include "optim/parallel.h"
#include "optim/snapshot.h"
#include "optim/state_hash.h"
#include "proto/config/run_options.h"
#include "worker/engine_messages.h"
#include "worker/memory_need.h"
#include "worker/refusal.h"
#include "worker/table_config.h"

namespace tributary::worker {
namespace {

// Seconds since `start`, which then becomes now.
double Lap(Clock& clock, absl::Time& start) {
  const absl::Time now = clock.Now();
  return absl::ToDoubleSeconds(now - std::exchange(start, now));
}

// What `taken` steps have changed, as `told` of the same would have changed it.
void ScaleSteps(uint32_t told, uint32_t taken, absl::Span<float> direction) {
  const float factor = static_cast<float>(static_cast<double>(told) / taken);
  std::transform(direction.begin(), direction.end(), direction.begin(), [factor](float value) { return value * factor; });
}

optim::RoundParameters ParametersOf(const v1::RoundStart& start) {
  return {.round = start.round(), .learning_rate = start.learning_rate(), .local_steps = start.local_steps()};
}

}  // namespace

absl::StatusOr<TrainerOptions> TrainerOptionsOf(const v1::RunSpec& spec, const v1::WorkerConfig& config) {
  TrainerOptions options;
  TRIBUTARY_ASSIGN_OR_RETURN(options.optimizer, OptimizerOptionsOf(spec));
  TRIBUTARY_ASSIGN_OR_RETURN(options.model, ModelSpecOf(spec));
  TRIBUTARY_ASSIGN_OR_RETURN(options.data_kind, DataKindOf(spec.data()));
  options.data_folder = config.data();
  TRIBUTARY_ASSIGN_OR_RETURN(options.table, TableOptionsOf(spec.data(), config.csv()));
  options.token_bytes = spec.data().has_token_bytes() ? spec.data().token_bytes() : options.token_bytes;
  options.class_names.assign(spec.data().classes().begin(), spec.data().classes().end());
  options.batch_size = spec.data().batch_size();
  options.validation_fraction = spec.data().validation_fraction();
  options.evaluation_batches = spec.evaluation().batches();
  for (const std::string& name : spec.evaluation().metrics()) {
    if (const std::optional<optim::MetricKind> metric = optim::MetricNamed(name); metric.has_value()) {
      options.metrics.push_back(*metric);
    }
  }
  options.most_local_steps = std::min(config.consent().max_local_steps(), optim::kMaxLocalSteps);
  options.seed = spec.seed();
  options.site = config.site();
  options.threads = config.threads() != 0 ? static_cast<int>(config.threads()) : UsableCores();
  return options;
}

absl::StatusOr<std::unique_ptr<TrainingRun>> TrainingRun::Create(const v1::WorkerConfig& config, const v1::RunOffer& offer,
                                                                 Dependencies dependencies) {
  std::unique_ptr<TrainingRun> run(new TrainingRun(std::move(dependencies)));
  run->run_id_ = offer.run_id();
  run->site_ = config.site();
  run->spec_ = offer.spec();
  TRIBUTARY_ASSIGN_OR_RETURN(TrainerOptions options, TrainerOptionsOf(offer.spec(), config));
  options.clock = run->dependencies_.clock;
  run->optimizer_ = options.optimizer;
  run->model_ = options.model;
  TRIBUTARY_ASSIGN_OR_RETURN(run->layout_, optim::MakeLayout(run->model_));
  if (DigestBytes(run->layout_.hash()) != offer.layout_hash()) {
    constexpr absl::string_view kOtherBlocks =
        "the coordinator's model has different blocks from this worker's; install the version that the coordinator runs";
    return WithRefusal(absl::FailedPreconditionError(kOtherBlocks), kOtherBlocks);
  }
  TRIBUTARY_RETURN_IF_ERROR(run->CheckRoom());
  run->threads_ = optim::UsefulThreads(run->layout_.size(), options.threads);
  TRIBUTARY_ASSIGN_OR_RETURN(run->encoder_, run->dependencies_.make_encoder(run->optimizer_, run->layout_, run->threads_));
  TRIBUTARY_ASSIGN_OR_RETURN(run->trainer_, run->dependencies_.make_trainer(options, run->layout_));
  if (const std::string data = run->trainer_->data().text; !data.empty()) {
    LogInfo("worker", "run ", run->spec_.name(), ": read ", data);
  }
  if (const uint64_t least = config.consent().min_samples(); run->trainer_->training_samples() < least) {
    return WithRefusal(
        WithExitCode(absl::PermissionDeniedError(absl::StrCat("this site has ", run->trainer_->training_samples(),
                                                              " samples to train on, and consent.min_samples asks for ", least)),
                     ExitCode::kConsent),
        "consent.min_samples of this site allows no run on as little data as it has");
  }
  run->direction_.resize(run->layout_.size());
  if (FileStore* const store = run->dependencies_.store; store != nullptr) {
    run->keeper_ = std::make_unique<StateKeeper>(run->Owner(), config.persist(), store, run->dependencies_.clock,
                                                 run->dependencies_.max_logged_payload);
  }
  TRIBUTARY_RETURN_IF_ERROR(run->Restore());
  return run;
}

absl::Status TrainingRun::CheckRoom() const {
  const absl::StatusOr<MemoryLimits> room = dependencies_.memory();
  if (!room.ok()) {
    return absl::OkStatus();
  }
  const MemoryNeed need =
      MemoryToTrain(model_, optimizer_, layout_, spec_.data().batch_size(), spec_.pipeline() != 0 ? Pipelining::kOn : Pipelining::kOff);
  const absl::Status fits = CheckMemory("the run needs, at this site,", need, *room);
  return fits.ok() ? fits : WithRefusal(fits, fits.message());
}

absl::Status TrainingRun::Restore() {
  if (keeper_ == nullptr) {
    return absl::OkStatus();
  }
  absl::StatusOr<StateKeeper::Kept> kept = keeper_->Open();
  if (!kept.ok()) {
    return WithExitCode(absl::AbortedError(absl::StrCat("the saved state of run ", run_id_, ": ", kept.status().message())),
                        ExitCode::kStorage);
  }
  if (kept->sent.newest.has_value()) {
    (kept->sent.newest->update.payload != nullptr ? pending_ : lost_) = kept->sent.newest;
  }
  const bool copied = !absl::IsNotFound(kept->copy.status());
  const std::string copy_round = kept->copy.ok() ? absl::StrCat("saved in round ", kept->copy->round) : "";
  const bool sent_since = kept->sent.any;
  if (const absl::Status status = RestoreCopy(*std::move(kept)); !status.ok()) {
    if (!absl::IsDataLoss(status)) {
      return status;
    }
    const absl::StatusOr<std::string> aside = SetSavedStateAside(run_id_, *dependencies_.store);
    LogWarning("worker", "run ", spec_.name(), ": the saved state cannot be used: ", status.message(),
               "; continuing with an empty residual. ",
               aside.ok() ? absl::StrCat("The file is kept as ", *aside) : std::string(aside.status().message()));
  } else if (sent_since) {
    LogInfo("worker", "run ", spec_.name(), ": updates were sent after the state was last saved whole; continuing with an empty residual");
  } else if (copied) {
    LogInfo("worker", "run ", spec_.name(), ": continuing from the state ", copy_round);
  }
  unsettled_ = pending_;
  return absl::OkStatus();
}

absl::Status TrainingRun::RestoreCopy(StateKeeper::Kept kept) {
  if (absl::IsNotFound(kept.copy.status())) {
    return absl::OkStatus();
  }
  TRIBUTARY_ASSIGN_OR_RETURN(SavedState copy, std::move(kept.copy));
  if (kept.sent.any) {
    return trainer_->RestoreState(copy.trainer);
  }
  TRIBUTARY_RETURN_IF_ERROR(encoder_->RestoreState(copy.encoder));
  const absl::Status status = trainer_->RestoreState(copy.trainer);
  if (!status.ok()) {
    // Both or none.
    TRIBUTARY_ASSIGN_OR_RETURN(encoder_, dependencies_.make_encoder(optimizer_, layout_, threads_));
    return status;
  }
  pending_ = std::move(copy.pending);
  return absl::OkStatus();
}

SavedState TrainingRun::Whole() const {
  return {.round = trained_round_, .pending = unsettled_, .encoder = encoder_->SaveState(), .trainer = trainer_->SaveState()};
}

absl::Status TrainingRun::Save() {
  if (keeper_ == nullptr) {
    return absl::OkStatus();
  }
  absl::Time start = dependencies_.clock->Now();
  if (const absl::Status status = keeper_->Keep(trained_round_, unsettled_, [this] { return Whole(); }); !status.ok()) {
    return WithExitCode(absl::AbortedError(status.message()), ExitCode::kStorage);
  }
  dependencies_.metrics->ObserveStep(StepPhase::kPersist, Lap(*dependencies_.clock, start));
  return absl::OkStatus();
}

absl::Status TrainingRun::Keep() {
  if (keeper_ == nullptr || !keeper_->behind()) {
    return absl::OkStatus();
  }
  DropAhead();
  return keeper_->KeepWhole([this] { return Whole(); });
}

ReplicaPosition TrainingRun::Position() const {
  ReplicaPosition position{state_->round, DigestBytes(optim::StateHash(layout_, *state_, threads_))};
  if (previous_.has_value() && previous_->round + 1 == state_->round) {
    position.previous_hash = previous_->hash;
  }
  return position;
}

absl::StatusOr<ReplicaPosition> TrainingRun::InitializeFromSeed() {
  if (!spec_.model().initial_weights().empty()) {
    return absl::FailedPreconditionError("the run starts from a file of weights");
  }
  std::vector<float> theta(layout_.size());
  TRIBUTARY_RETURN_IF_ERROR(optim::InitializeWeights(model_, spec_.seed(), layout_, absl::MakeSpan(theta)));
  TRIBUTARY_ASSIGN_OR_RETURN(state_, optim::InitialState(optimizer_, layout_, std::move(theta)));
  previous_.reset();
  DropAhead();
  dependencies_.metrics->SetRound(0);
  return Position();
}

absl::StatusOr<ReplicaPosition> TrainingRun::LoadSnapshot(absl::string_view bytes) {
  TRIBUTARY_ASSIGN_OR_RETURN(state_, optim::DecodeSnapshot(bytes, layout_, optim::SlotCount(optimizer_.mode)));
  previous_.reset();
  DropAhead();
  dependencies_.metrics->SetRound(state_->round);
  return Position();
}

absl::Status TrainingRun::ApplyCommits(std::vector<std::string> records, ReplicaPosition& held) {
  absl::Status status;
  for (std::string& record : records) {
    absl::Time start = dependencies_.clock->Now();
    absl::StatusOr<optim::Commit> commit = optim::DecodeCommit(std::move(record));
    status = commit.status();
    if (status.ok() && commit->round <= state_->round) {
      continue;
    }
    if (spec_.pipeline() != 0 && &record == &records.back()) {
      if (!previous_.has_value()) {
        previous_ = Previous{};
      }
      previous_->round = state_->round;
      previous_->hash = Position().hash;
      previous_->theta = state_->theta;
    }
    if (status.ok()) {
      status = optim::Apply(optimizer_, layout_, *commit, *state_, threads_);
    }
    if (!status.ok()) {
      break;
    }
    dependencies_.metrics->ObserveStep(StepPhase::kApply, Lap(*dependencies_.clock, start));
  }
  dependencies_.metrics->SetRound(state_->round);
  absl::Time hashing = dependencies_.clock->Now();
  held = Position();
  dependencies_.metrics->ObserveStep(StepPhase::kHash, Lap(*dependencies_.clock, hashing));
  return status;
}

absl::StatusOr<StepResult> TrainingRun::Compute(const v1::RoundStart& start) {
  if (ahead_.has_value()) {
    const v1::RoundStart& ahead = ahead_->start;
    if (ahead.round() == start.round() && ahead.base_state_hash() == start.base_state_hash() &&
        ahead.learning_rate() == start.learning_rate() && ahead.local_steps() == start.local_steps()) {
      return std::exchange(ahead_, std::nullopt)->step;
    }
    DropAhead();
  }
  const bool from_previous = previous_.has_value() && previous_->round == start.base_round() && start.base_round() + 1 == state_->round;
  if (!from_previous && start.base_round() != state_->round) {
    return absl::InternalError(
        absl::StrCat("the round starts from state ", start.base_round(), ", but this worker holds state ", state_->round));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(
      StepResult step,
      trainer_->ComputeDirection(ParametersOf(start), from_previous ? previous_->theta : state_->theta, absl::MakeSpan(direction_)));
  if (step.local_steps == 0) {
    step.local_steps = start.local_steps();
  }
  if (optim::StepsAreTimed(optimizer_) && step.local_steps <= optim::kLeastTimedSteps && !slowness_told_ &&
      absl::Seconds(step.compute_seconds) > optimizer_.local_time) {
    slowness_told_ = true;
    LogWarning("worker", "run ", spec_.name(), ": ", step.local_steps, " local steps, the fewest that a round has, took ",
               absl::FormatDuration(absl::Milliseconds(std::llround(1000 * step.compute_seconds))), ", more than optimizer.local_time (",
               absl::FormatDuration(optimizer_.local_time), "): this site's updates may be late in every round; the run needs a longer ",
               "local_time or participation.min_deadline");
  }
  if (optim::StepsAreTimed(optimizer_) && step.local_steps != start.local_steps()) {
    ScaleSteps(start.local_steps(), step.local_steps, absl::MakeSpan(direction_));
  }
  return step;
}

void TrainingRun::DropAhead() {
  if (!ahead_.has_value()) {
    return;
  }
  // The inner optimiser has taken steps that no round will have.
  if (const absl::Status restored = trainer_->RestoreState(ahead_->trainer_before); !restored.ok()) {
    LogError("worker", "run ", spec_.name(), ": the step computed ahead could not be undone: ", restored.message());
  }
  ahead_.reset();
}

void TrainingRun::ComputeAhead(const v1::RoundStart& start) {
  DropAhead();
  std::string before = trainer_->SaveState();
  absl::StatusOr<StepResult> step = Compute(start);
  ahead_.emplace(Ahead{start, std::move(step), std::move(before)});
}

absl::StatusOr<TrainedUpdate> TrainingRun::Train(const v1::RoundStart& start) {
  absl::StatusOr<TrainedUpdate> update = TrainAndEncode(start);
  if (update.ok() && ContradictsSent(start, *update)) {
    // What was sent may be in the model: nothing of this round may stay in the residual, to be sent again.
    TRIBUTARY_ASSIGN_OR_RETURN(encoder_, dependencies_.make_encoder(optimizer_, layout_, threads_));
    update = absl::AlreadyExistsError("an update was sent before this worker was restarted, and training again leads to another");
  }
  if (lost_.has_value() && !update.ok()) {
    return update;  // what is known of the lost one stays on disk until another takes its place
  }
  lost_.reset();
  trained_round_ = start.round();
  unsettled_ = update.ok() ? std::make_optional(PendingUpdate{start.round(), start.base_state_hash(), *update}) : std::nullopt;
  // Also without an update: the inner optimiser may have moved.
  TRIBUTARY_RETURN_IF_ERROR(Save());
  return update;
}

bool TrainingRun::ContradictsSent(const v1::RoundStart& start, const TrainedUpdate& update) const {
  return lost_.has_value() && lost_->round == start.round() && lost_->base_hash == start.base_state_hash() &&
         lost_->update.sha256 != update.sha256;
}

absl::StatusOr<TrainedUpdate> TrainingRun::TrainAndEncode(const v1::RoundStart& start) {
  TrainedUpdate update;
  if (start.evaluate_base()) {
    const absl::StatusOr<Evaluation> evaluation = Evaluate();
    if (evaluation.ok()) {
      update.report.set_val_loss(static_cast<float>(evaluation->loss));
      AddMetrics(*evaluation, *update.report.mutable_metrics());
    } else if (!absl::IsUnimplemented(evaluation.status())) {
      return evaluation.status();
    }
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const StepResult step, Compute(start));
  if (!std::isfinite(step.train_loss)) {
    return absl::FailedPreconditionError("the training loss is not finite; the learning rate may be too high");
  }
  update.report.set_train_loss(step.train_loss);
  if (optimizer_.weighting == optim::Weighting::kSamples) {
    update.report.set_samples(trainer_->training_samples());
  }
  update.report.set_compute_seconds(step.compute_seconds);
  if (optim::StepsAreTimed(optimizer_)) {
    update.report.set_local_steps(step.local_steps);
  }

  absl::Time encoding = dependencies_.clock->Now();
  TRIBUTARY_ASSIGN_OR_RETURN(std::string payload, encoder_->Encode(ParametersOf(start), direction_));
  const double encode_seconds = Lap(*dependencies_.clock, encoding);
  update.report.set_encode_seconds(static_cast<float>(encode_seconds));
  update.sha256 = DigestBytes(Sha256(payload));
  update.payload = std::make_shared<const std::string>(std::move(payload));

  TrainingMetrics& metrics = *dependencies_.metrics;
  metrics.ObserveStep(StepPhase::kCompute, step.compute_seconds);
  metrics.ObserveStep(StepPhase::kEncode, encode_seconds);
  metrics.CountSamples(static_cast<uint64_t>(spec_.data().batch_size()) * step.local_steps);
  metrics.SetTrainLoss(step.train_loss);
  return update;
}

void TrainingRun::Settle(UpdateFate fate) {
  absl::Time start = dependencies_.clock->Now();
  encoder_->Settle(fate);
  unsettled_.reset();
  dependencies_.metrics->SetResidualNorm(encoder_->ResidualNorm());
  dependencies_.metrics->ObserveStep(StepPhase::kSettle, Lap(*dependencies_.clock, start));
}

absl::StatusOr<Evaluation> TrainingRun::Evaluate() {
  absl::Time start = dependencies_.clock->Now();
  TRIBUTARY_ASSIGN_OR_RETURN(Evaluation evaluation, trainer_->Evaluate(state_->theta));
  // A program of the site's own may report more than the run asks for.
  const auto& asked = spec_.evaluation().metrics();
  std::erase_if(evaluation.metrics, [&asked](const auto& metric) {
    return std::find(asked.begin(), asked.end(), metric.first) == asked.end() || !std::isfinite(metric.second);
  });
  dependencies_.metrics->ObserveStep(StepPhase::kEvaluate, Lap(*dependencies_.clock, start));
  dependencies_.metrics->SetValidationLoss(evaluation.loss);
  return evaluation;
}

}  // namespace tributary::worker
