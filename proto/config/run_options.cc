#include "proto/config/run_options.h"

#include <algorithm>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/excerpt.h"
#include "common/status_macros.h"
#include "optim/budget.h"
#include "optim/metric_kind.h"
#include "optim/modes.h"
#include "optim/norm_gate.h"
#include "proto/config/local_time.h"
#include "proto/config/rules.h"
#include "proto/config/table_rules.h"
#include "proto/durations.h"

namespace tributary {
namespace {

using v1::OptimizerSpec;

absl::Status Invalid(absl::string_view key, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(key, ": ", problem));
}

constexpr OptimizerSpec::Mode NumberOf(optim::Mode mode) {
  switch (mode) {
    case optim::Mode::kAllReduce:
      return OptimizerSpec::ALLREDUCE;
    case optim::Mode::kDemo:
      return OptimizerSpec::DEMO;
    case optim::Mode::kDistro:
      return OptimizerSpec::DISTRO;
    case optim::Mode::kLocal:
      return OptimizerSpec::LOCAL;
    case optim::Mode::kFedAvg:
      return OptimizerSpec::FEDAVG;
    case optim::Mode::kDiLoCo:
      return OptimizerSpec::DILOCO;
    case optim::Mode::kSignSgd:
      return OptimizerSpec::SIGNSGD;
  }
  return OptimizerSpec::MODE_UNSPECIFIED;
}
// With the switch above: every mode has a row in the table and a number in the protocol, and every number is a mode's.
static_assert(optim::kModes.size() == OptimizerSpec::Mode_ARRAYSIZE - 1);
static_assert(std::all_of(optim::kModes.begin(), optim::kModes.end(),
                          [](const optim::ModeTraits& mode) { return NumberOf(mode.mode) != OptimizerSpec::MODE_UNSPECIFIED; }));

absl::StatusOr<optim::Mode> ModeOf(OptimizerSpec::Mode number) {
  for (const optim::ModeTraits& mode : optim::kModes) {
    if (NumberOf(mode.mode) == number) {
      return mode.mode;
    }
  }
  return Invalid("optimizer.mode", "is missing");
}

// Kinds of data lie in one order here and there; a test compares their names.
constexpr v1::DataSpec::Kind NumberOf(optim::DataKind kind) {
  return static_cast<v1::DataSpec::Kind>(static_cast<int>(kind) + 1);
}
static_assert(optim::kDataKinds.size() == v1::DataSpec::Kind_ARRAYSIZE - 1);

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

optim::Aggregation AggregationOf(v1::Aggregation number) {
  switch (number) {
    case v1::SIGN_VOTE:
      return optim::Aggregation::kSignVote;
    case v1::TRIMMED_MEAN:
      return optim::Aggregation::kTrimmedMean;
    case v1::MEDIAN:
      return optim::Aggregation::kMedian;
    case v1::AGREEMENT:
      return optim::Aggregation::kAgreement;
    default:
      return optim::Aggregation::kMean;
  }
}

// Refuses a key that the run's mode would silently ignore.
absl::Status CheckKeysOfMode(const OptimizerSpec& spec, optim::Mode mode) {
  struct GivenKey {
    const char* name;
    optim::Key key;
    bool given;
  };
  const GivenKey keys[] = {
      {"local_steps", optim::Key::kLocalSteps, spec.local_steps() > 1 || spec.has_local_time()},
      {"beta", optim::Key::kBeta, spec.has_beta()},
      {"k", optim::Key::kK, spec.has_k()},
      {"value_bits", optim::Key::kValueBits, spec.has_value_bits()},
      {"domain", optim::Key::kDomain, spec.domain() != OptimizerSpec::DOMAIN_UNSPECIFIED},
      {"normalize", optim::Key::kNormalize, spec.has_normalize()},
      {"commit_k", optim::Key::kCommitK, spec.has_commit_k()},
      {"outer_learning_rate", optim::Key::kOuterLearningRate, spec.has_outer_learning_rate()},
      {"outer_momentum", optim::Key::kOuterMomentum, spec.has_outer_momentum()},
      {"weighting", optim::Key::kWeighting, spec.weighting() == v1::SAMPLES},
  };
  for (const GivenKey& key : keys) {
    if (!key.given || optim::TraitsOf(mode).keys.Has(key.key)) {
      continue;
    }
    std::string modes;
    for (const optim::ModeTraits& other : optim::kModes) {
      if (other.keys.Has(key.key)) {
        absl::StrAppend(&modes, modes.empty() ? "" : ", ", other.name);
      }
    }
    return Invalid(absl::StrCat("optimizer.", key.name), absl::StrCat("mode ", optim::ModeName(mode), " has no ", key.name, " (only ",
                                                                      modes, "); remove the key or change the mode"));
  }
  return absl::OkStatus();
}

// What the budget leaves to choose, for all who run the same specification.
absl::StatusOr<optim::OptimizerOptions> WithinBudget(const v1::RunSpec& run, const optim::OptimizerOptions& options) {
  const OptimizerSpec& spec = run.optimizer();
  const bool steps = spec.local_steps() > 1 || spec.has_local_time();
  const char* contradiction = spec.has_k() ? "k" : spec.has_commit_k() ? "commit_k" : steps ? "local_steps" : nullptr;
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

// .999f as .999, not as the 0.99900001287460327 that it is.
double Shortest(float value) {
  double shortest = value;
  static_cast<void>(absl::SimpleAtod(absl::StrCat(value), &shortest));
  return static_cast<float>(shortest) == value ? shortest : value;
}

// Of data whose kind gives what the model, of this `shape`, reads.
absl::Status CheckTokens(const v1::DataSpec& data, const optim::DataTraits& kind, const optim::SampleShape& shape) {
  if (kind.kind != optim::DataKind::kTokens) {
    return data.has_token_bytes() ? Invalid("data.token_bytes", absl::StrCat(kind.name, " has none; remove the key")) : absl::OkStatus();
  }
  const uint32_t bytes = data.has_token_bytes() ? data.token_bytes() : 2;
  if (bytes != 2 && bytes != 4) {
    return Invalid("data.token_bytes", absl::StrCat(bytes, " is not 2 or 4"));
  }
  if (const int64_t vocabulary = std::get<optim::TokenWindows>(shape).vocabulary; bytes == 2 && vocabulary > 65536) {
    return Invalid("data.token_bytes", absl::StrCat("numbers of 2 bytes stay below 65536, and the model's vocab_size is ", vocabulary,
                                                    ": write tokens of 4 bytes, and say so here"));
  }
  return absl::OkStatus();
}

// Classes are the names of folders at every site.
absl::Status CheckClasses(const v1::DataSpec& data, const optim::SampleShape& shape) {
  if (data.classes().empty()) {
    return absl::OkStatus();
  }
  const auto* const images = std::get_if<optim::Images>(&shape);
  if (images == nullptr || images->classes == 0) {
    return Invalid("data.classes", "only a model that tells classes of images apart reads it; remove the key");
  }
  if (data.classes_size() != images->classes) {
    return Invalid("data.classes", absl::StrCat("names ", data.classes_size(), ", and the model has ", images->classes, " outputs"));
  }
  std::set<std::string> names;
  for (int i = 0; i < data.classes_size(); ++i) {
    const std::string& name = data.classes(i);
    const std::string field = absl::StrCat("data.classes[", i, "]");
    if (name.empty() || name[0] == '.' || absl::StrContains(name, '/') || name.size() > 255 || Escaped(name) != name) {
      return Invalid(field,
                     absl::StrCat("'", Excerpt(name), "' is no name for a folder: printable characters without /, the first no dot"));
    }
    if (!names.insert(name).second) {
      return Invalid(field, absl::StrCat("'", Excerpt(name), "' appears twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckEvaluation(const v1::RunSpec& spec, const optim::ModelSpec& model) {
  const optim::SampleShape shape = optim::SampleShapeOf(model);
  std::vector<absl::string_view> has;
  for (const optim::MetricTraits& metric : optim::kMetrics) {
    if (metric.has(shape)) {
      has.push_back(metric.name);
    }
  }
  const auto& metrics = spec.evaluation().metrics();
  for (const std::string& metric : metrics) {
    if (std::find(has.begin(), has.end(), metric) == has.end()) {
      return Invalid("evaluation.metrics", absl::StrCat("'", Excerpt(metric), "' is no metric of this model; it has ",
                                                        has.empty() ? "none" : absl::StrJoin(has, ", ")));
    }
  }
  const bool wants_auroc = std::find(metrics.begin(), metrics.end(), optim::TraitsOf(optim::MetricKind::kAuroc).name) != metrics.end();
  if (wants_auroc && optim::ClassesOf(shape) > optim::kMaxAurocClasses) {
    return Invalid("evaluation.metrics",
                   absl::StrCat("auroc is of at most ", optim::kMaxAurocClasses, " classes; this model has ", optim::ClassesOf(shape)));
  }
  if (!spec.has_stop_when()) {
    return absl::OkStatus();
  }
  const std::string judged_by = JudgedBy(spec);
  if (judged_by != kLossName && std::find(metrics.begin(), metrics.end(), judged_by) == metrics.end()) {
    return Invalid("stop_when.metric",
                   absl::StrCat("'", Excerpt(judged_by), "' is not among evaluation.metrics; name it there, or judge by `loss`"));
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
  if (const int named = spec.sites_size(); named > 0 && spec.min_workers() > static_cast<uint32_t>(named)) {
    return Invalid("participation.min_workers", absl::StrCat(spec.min_workers(), " is more than the ", named, " of participation.sites"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<optim::OptimizerOptions> OptimizerOptionsOf(const v1::RunSpec& run) {
  const OptimizerSpec& spec = run.optimizer();
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Mode mode, ModeOf(spec.mode()));
  TRIBUTARY_RETURN_IF_ERROR(CheckKeysOfMode(spec, mode));
  if (spec.has_value_bits() && spec.value_bits() != 1 && spec.value_bits() != 2 && spec.value_bits() != 4 && spec.value_bits() != 8) {
    return Invalid("optimizer.value_bits", absl::StrCat(spec.value_bits(), " is not 1, 2, 4 or 8"));
  }

  optim::OptimizerOptions options = optim::Defaults(mode);
  const uint64_t scheduled = spec.learning_rate().rounds();
  options.rounds = scheduled > 0 ? scheduled : run.rounds();
  options.learning_rate.kind = ScheduleKindOf(spec.learning_rate().kind());
  options.learning_rate.peak = spec.learning_rate().peak();
  options.learning_rate.warmup_rounds = spec.learning_rate().warmup_rounds();
  options.learning_rate.final_ratio = spec.learning_rate().final_ratio();
  options.learning_rate.decay_fraction = spec.learning_rate().decay_fraction();
  options.clip_norm = static_cast<float>(spec.clip_norm());
  options.norm_bound = static_cast<float>(spec.norm_bound());
  options.aggregation = AggregationOf(spec.aggregation());
  if (spec.has_trim()) {
    if (options.aggregation != optim::Aggregation::kTrimmedMean) {
      return Invalid("optimizer.trim", "is read by aggregation trimmed_mean alone; remove the key");
    }
    options.trim = static_cast<float>(spec.trim());
  }
  if (spec.has_weight_decay()) {
    options.weight_decay = static_cast<float>(spec.weight_decay());
  }
  options.adam.beta1 = static_cast<float>(spec.adam_beta1());
  options.adam.beta2 = static_cast<float>(spec.adam_beta2());
  options.adam.epsilon = static_cast<float>(spec.adam_epsilon());
  options.local_time = DurationOf(spec.local_time());
  options.local_steps = optim::StepsAreTimed(options) ? optim::kLeastTimedSteps : spec.local_steps();
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

absl::StatusOr<v1::OptimizerSpec> OptimizerInForce(const v1::RunSpec& spec) {
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::OptimizerOptions options, OptimizerOptionsOf(spec));
  const optim::Keys& keys = optim::TraitsOf(options.mode).keys;
  OptimizerSpec in_force = spec.optimizer();
  if (in_force.learning_rate().kind() == v1::ScheduleSpec::KIND_UNSPECIFIED) {
    in_force.mutable_learning_rate()->set_kind(v1::ScheduleSpec::COSINE);
  }
  in_force.set_weight_decay(Shortest(options.weight_decay));
  in_force.set_aggregation(spec.optimizer().aggregation() == v1::AGGREGATION_UNSPECIFIED ? v1::MEAN : spec.optimizer().aggregation());
  if (options.aggregation == optim::Aggregation::kTrimmedMean) {
    in_force.set_trim(Shortest(options.trim));
  }
  in_force.set_norm_bound(optim::BoundsNorms(options) ? Shortest(options.norm_bound) : 0);
  in_force.set_local_steps(optim::StepsAreTimed(options) ? 0 : optim::ParametersForRound(options, 1).local_steps);
  in_force.set_weighting(options.weighting == optim::Weighting::kSamples ? v1::SAMPLES : v1::UNIFORM);
  // Where the mode reads none of these, the run has none: it would have been refused.
  if (keys.Has(optim::Key::kBeta)) {
    in_force.set_beta(Shortest(options.beta));
  }
  if (keys.Has(optim::Key::kK)) {
    in_force.set_k(options.k);
  }
  if (keys.Has(optim::Key::kValueBits)) {
    in_force.set_value_bits(options.value_bits);
  }
  if (keys.Has(optim::Key::kDomain)) {
    in_force.set_domain(options.domain == optim::Domain::kDct ? OptimizerSpec::DCT : OptimizerSpec::IDENTITY);
  }
  if (keys.Has(optim::Key::kNormalize)) {
    in_force.set_normalize(options.normalize);
  }
  if (keys.Has(optim::Key::kCommitK)) {
    in_force.set_commit_k(options.commit_k);
  }
  if (keys.Has(optim::Key::kOuterLearningRate)) {
    in_force.set_outer_learning_rate(Shortest(options.outer_learning_rate));
  }
  if (keys.Has(optim::Key::kOuterMomentum)) {
    in_force.set_outer_momentum(Shortest(options.outer_momentum));
  }
  return in_force;
}

absl::StatusOr<optim::DataKind> DataKindOf(const v1::DataSpec& data) {
  for (const optim::DataTraits& traits : optim::kDataKinds) {
    if (NumberOf(traits.kind) == data.kind()) {
      return traits.kind;
    }
  }
  return Invalid("data.kind", "is missing");
}

std::string JudgedBy(const v1::RunSpec& spec) {
  return spec.stop_when().metric().empty() ? std::string(kLossName) : spec.stop_when().metric();
}

absl::Status CheckMinWorkers(const v1::RunSpec& spec, int sites) {
  if (spec.participation().min_workers() <= static_cast<uint32_t>(sites)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("participation.min_workers: ", spec.participation().min_workers(), " is more than the ",
                                                 sites, " sites of this federation"));
}

absl::Status CheckDataOf(const v1::RunSpec& spec) {
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ModelSpec model, ModelSpecOf(spec));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::DataKind given, DataKindOf(spec.data()));
  const optim::DataTraits& kind = optim::TraitsOf(given);
  const optim::SampleShape shape = optim::SampleShapeOf(model);
  if (!kind.gives(shape)) {
    std::string names;
    for (const optim::DataTraits& other : optim::kDataKinds) {
      if (other.gives(shape)) {
        absl::StrAppend(&names, names.empty() ? "" : " or ", other.name);
      }
    }
    return Invalid("data.kind", absl::StrCat("model ", ModelKindOf(spec.model()), " needs kind ", names));
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckTokens(spec.data(), kind, shape));
  TRIBUTARY_RETURN_IF_ERROR(CheckClasses(spec.data(), shape));
  switch (kind.labels) {
    case optim::Labels::kNone:
      return CheckNoTable(spec.data(), kind.name);
    case optim::Labels::kColumn:
      return CheckTable(spec);
  }
  return absl::OkStatus();
}

absl::Status ValidateRunSpec(const v1::RunSpec& spec) {
  TRIBUTARY_RETURN_IF_ERROR(CheckRules(spec));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ModelSpec model, ModelSpecOf(spec));
  TRIBUTARY_RETURN_IF_ERROR(Annotate(optim::MakeLayout(model).status(), "model"));
  if (std::holds_alternative<optim::CustomModel>(model) && spec.model().initial_weights().empty()) {
    return Invalid("model.initial_weights", "is missing: a custom model starts from a file of weights");
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckLocalTime(spec));
  TRIBUTARY_RETURN_IF_ERROR(OptimizerOptionsOf(spec).status());
  TRIBUTARY_RETURN_IF_ERROR(CheckDataOf(spec));
  TRIBUTARY_RETURN_IF_ERROR(CheckEvaluation(spec, model));
  TRIBUTARY_RETURN_IF_ERROR(CheckParticipation(spec.participation()));
  const auto& rate = spec.optimizer().learning_rate();
  if (const uint64_t scheduled = rate.rounds() > 0 ? rate.rounds() : spec.rounds(); rate.warmup_rounds() > scheduled) {
    return Invalid("optimizer.learning_rate.warmup_rounds", absl::StrCat(rate.warmup_rounds(), " is more than rounds, ", scheduled));
  }
  return absl::OkStatus();
}

}  // namespace tributary
