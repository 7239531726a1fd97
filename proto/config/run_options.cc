#include "proto/config/run_options.h"

#include <algorithm>
#include <initializer_list>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/status_macros.h"
#include "optim/budget.h"
#include "proto/config/rules.h"
#include "proto/durations.h"

namespace tributary {
namespace {

using v1::OptimizerSpec;

absl::Status Invalid(absl::string_view key, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(key, ": ", problem));
}

std::string WordOf(OptimizerSpec::Mode mode) {
  return absl::AsciiStrToLower(OptimizerSpec::Mode_Name(mode));
}

absl::StatusOr<optim::Mode> ModeOf(OptimizerSpec::Mode mode) {
  switch (mode) {
    case OptimizerSpec::ALLREDUCE:
      return optim::Mode::kAllReduce;
    case OptimizerSpec::DEMO:
      return optim::Mode::kDemo;
    case OptimizerSpec::DISTRO:
      return optim::Mode::kDistro;
    case OptimizerSpec::LOCAL:
      return optim::Mode::kLocal;
    case OptimizerSpec::FEDAVG:
      return optim::Mode::kFedAvg;
    case OptimizerSpec::DILOCO:
      return optim::Mode::kDiLoCo;
    case OptimizerSpec::SIGNSGD:
      return optim::Mode::kSignSgd;
    default:
      return Invalid("optimizer.mode", "is missing");
  }
}

optim::ScheduleKind ScheduleKindOf(v1::ScheduleSpec::Kind kind) {
  switch (kind) {
    case v1::ScheduleSpec::CONSTANT:
      return optim::ScheduleKind::kConstant;
    case v1::ScheduleSpec::LINEAR:
      return optim::ScheduleKind::kLinear;
    case v1::ScheduleSpec::WARMUP_STABLE_DECAY:
      return optim::ScheduleKind::kWarmupStableDecay;
    default:
      return optim::ScheduleKind::kCosine;
  }
}

// Refuses a key that the run's mode would silently ignore.
absl::Status CheckKeysOfMode(const OptimizerSpec& spec) {
  using Modes = std::initializer_list<OptimizerSpec::Mode>;
  struct Key {
    const char* name;
    bool given;
    Modes modes;
  };
  const Key keys[] = {
      {"local_steps", spec.local_steps() > 1, {OptimizerSpec::LOCAL, OptimizerSpec::FEDAVG, OptimizerSpec::DILOCO}},
      {"beta", spec.has_beta(), {OptimizerSpec::DEMO, OptimizerSpec::DISTRO, OptimizerSpec::LOCAL}},
      {"k", spec.has_k(), {OptimizerSpec::DEMO, OptimizerSpec::DISTRO, OptimizerSpec::LOCAL}},
      {"value_bits", spec.has_value_bits(), {OptimizerSpec::DISTRO, OptimizerSpec::LOCAL}},
      {"domain", spec.domain() != OptimizerSpec::DOMAIN_UNSPECIFIED, {OptimizerSpec::DISTRO, OptimizerSpec::LOCAL}},
      {"normalize", spec.has_normalize(), {OptimizerSpec::DISTRO}},
      {"commit_k", spec.has_commit_k(), {OptimizerSpec::DISTRO, OptimizerSpec::LOCAL}},
      {"outer_learning_rate", spec.has_outer_learning_rate(), {OptimizerSpec::LOCAL, OptimizerSpec::FEDAVG, OptimizerSpec::DILOCO}},
      {"outer_momentum", spec.has_outer_momentum(), {OptimizerSpec::DILOCO}},
      {"weighting",
       spec.weighting() == v1::SAMPLES,
       {OptimizerSpec::DISTRO, OptimizerSpec::LOCAL, OptimizerSpec::FEDAVG, OptimizerSpec::DILOCO}},
  };
  for (const Key& key : keys) {
    if (!key.given || std::find(key.modes.begin(), key.modes.end(), spec.mode()) != key.modes.end()) {
      continue;
    }
    std::string modes;
    for (const OptimizerSpec::Mode mode : key.modes) {
      absl::StrAppend(&modes, modes.empty() ? "" : ", ", WordOf(mode));
    }
    return Invalid(absl::StrCat("optimizer.", key.name), absl::StrCat("mode ", WordOf(spec.mode()), " has no ", key.name, " (only ", modes,
                                                                      "); remove the key or change the mode"));
  }
  return absl::OkStatus();
}

// What the budget leaves to choose, for all who run the same specification.
absl::StatusOr<optim::OptimizerOptions> WithinBudget(const v1::RunSpec& run, const optim::OptimizerOptions& options) {
  const OptimizerSpec& spec = run.optimizer();
  const char* contradiction = spec.has_k() ? "k" : spec.has_commit_k() ? "commit_k" : spec.local_steps() > 1 ? "local_steps" : nullptr;
  if (contradiction != nullptr) {
    return Invalid("optimizer.budget", absl::StrCat("chooses k, commit_k and local_steps itself; remove it, or optimizer.", contradiction));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ModelSpec model, ModelSpecOf(run));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Layout layout, optim::MakeLayout(model));
  absl::StatusOr<optim::OptimizerOptions> fitted = optim::FitBudget(options, layout, spec.budget());
  if (!fitted.ok()) {
    return Invalid("optimizer.budget", fitted.status().message());
  }
  return fitted;
}

absl::Status CheckData(const v1::RunSpec& spec) {
  const bool is_text = spec.data().kind() == v1::DataSpec::TEXT;
  if (spec.model().has_gpt() && !is_text) {
    return Invalid("data.kind", "model gpt needs kind text");
  }
  if (spec.model().has_mlp() && is_text) {
    return Invalid("data.kind", "model mlp needs kind csv");
  }
  if (is_text && !spec.data().label_column().empty()) {
    return Invalid("data.label_column", "text has no columns; remove the key");
  }
  if (!is_text && spec.data().label_column().empty()) {
    return Invalid("data.label_column", "is missing; csv data needs the name of its label column");
  }
  return absl::OkStatus();
}

absl::Status CheckParticipation(const v1::ParticipationSpec& spec) {
  if (spec.min_workers() > spec.max_workers()) {
    return Invalid("participation.min_workers", absl::StrCat(spec.min_workers(), " is more than max_workers, ", spec.max_workers()));
  }
  const absl::Duration min_deadline = DurationOf(spec.min_deadline());
  const absl::Duration max_deadline = DurationOf(spec.max_deadline());
  if (min_deadline > max_deadline) {
    return Invalid("participation.min_deadline",
                   absl::StrCat(absl::FormatDuration(min_deadline), " is more than max_deadline, ", absl::FormatDuration(max_deadline)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<optim::OptimizerOptions> OptimizerOptionsOf(const v1::RunSpec& run) {
  const OptimizerSpec& spec = run.optimizer();
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Mode mode, ModeOf(spec.mode()));
  TRIBUTARY_RETURN_IF_ERROR(CheckKeysOfMode(spec));
  if (spec.has_value_bits() && spec.value_bits() != 1 && spec.value_bits() != 2 && spec.value_bits() != 4 && spec.value_bits() != 8) {
    return Invalid("optimizer.value_bits", absl::StrCat(spec.value_bits(), " is not 1, 2, 4 or 8"));
  }

  optim::OptimizerOptions options = optim::Defaults(mode);
  options.rounds = run.rounds();
  options.learning_rate.kind = ScheduleKindOf(spec.learning_rate().kind());
  options.learning_rate.peak = spec.learning_rate().peak();
  options.learning_rate.warmup_rounds = spec.learning_rate().warmup_rounds();
  options.learning_rate.final_ratio = spec.learning_rate().final_ratio();
  options.learning_rate.decay_fraction = spec.learning_rate().decay_fraction();
  options.clip_norm = static_cast<float>(spec.clip_norm());
  if (spec.has_weight_decay()) {
    options.weight_decay = static_cast<float>(spec.weight_decay());
  }
  options.adam.beta1 = static_cast<float>(spec.adam_beta1());
  options.adam.beta2 = static_cast<float>(spec.adam_beta2());
  options.adam.epsilon = static_cast<float>(spec.adam_epsilon());
  options.local_steps = spec.local_steps();
  if (spec.has_beta()) {
    options.beta = static_cast<float>(spec.beta());
  }
  if (spec.has_k()) {
    options.k = spec.k();
    options.commit_k = spec.k();  // unless the run says otherwise
  }
  if (spec.has_commit_k()) {
    options.commit_k = spec.commit_k();
  }
  if (spec.has_value_bits()) {
    options.value_bits = spec.value_bits();
  }
  if (spec.domain() != OptimizerSpec::DOMAIN_UNSPECIFIED) {
    options.domain = spec.domain() == OptimizerSpec::DCT ? optim::Domain::kDct : optim::Domain::kIdentity;
  }
  if (spec.has_normalize()) {
    options.normalize = spec.normalize();
  }
  if (spec.has_outer_learning_rate()) {
    options.outer_learning_rate = static_cast<float>(spec.outer_learning_rate());
  }
  if (spec.has_outer_momentum()) {
    options.outer_momentum = static_cast<float>(spec.outer_momentum());
  }
  if (spec.weighting() == v1::SAMPLES) {
    options.weighting = optim::Weighting::kSamples;
  }
  TRIBUTARY_RETURN_IF_ERROR(Annotate(optim::Validate(options), "optimizer"));
  if (spec.budget() > 0) {
    return WithinBudget(run, options);
  }
  return options;
}

absl::StatusOr<optim::ModelSpec> ModelSpecOf(const v1::RunSpec& spec) {
  const v1::ModelSpec& model = spec.model();
  if (model.has_gpt()) {
    const v1::GptSpec& gpt = model.gpt();
    return optim::GptModel{.layers = gpt.layers(), .heads = gpt.heads(), .width = gpt.width(), .context = gpt.context()};
  }
  if (model.has_mlp()) {
    optim::MlpModel mlp{.inputs = model.mlp().inputs(), .hidden = {}, .outputs = model.mlp().outputs()};
    for (int i = 0; i < model.mlp().hidden_size(); ++i) {
      const uint32_t width = model.mlp().hidden(i);
      // The annotations bound the number of elements of a list, not the elements.
      if (width < 1 || width > 1'000'000) {
        return Invalid(absl::StrCat("model.mlp.hidden[", i, "]"), absl::StrCat(width, " is not between 1 and 1000000"));
      }
      mlp.hidden.push_back(width);
    }
    return mlp;
  }
  return Invalid("model", "needs one of: gpt, mlp");
}

absl::Status CheckMinWorkers(const v1::RunSpec& spec, int sites) {
  if (spec.participation().min_workers() <= static_cast<uint32_t>(sites)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("participation.min_workers: ", spec.participation().min_workers(), " is more than the ",
                                                 sites, " sites of this federation"));
}

absl::Status ValidateRunSpec(const v1::RunSpec& spec) {
  TRIBUTARY_RETURN_IF_ERROR(CheckRules(spec));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ModelSpec model, ModelSpecOf(spec));
  TRIBUTARY_RETURN_IF_ERROR(Annotate(optim::MakeLayout(model).status(), "model"));
  TRIBUTARY_RETURN_IF_ERROR(OptimizerOptionsOf(spec).status());
  TRIBUTARY_RETURN_IF_ERROR(CheckData(spec));
  TRIBUTARY_RETURN_IF_ERROR(CheckParticipation(spec.participation()));
  if (spec.optimizer().learning_rate().warmup_rounds() > spec.rounds()) {
    return Invalid("optimizer.learning_rate.warmup_rounds",
                   absl::StrCat(spec.optimizer().learning_rate().warmup_rounds(), " is more than rounds, ", spec.rounds()));
  }
  return absl::OkStatus();
}

}  // namespace tributary
