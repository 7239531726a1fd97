#include "optim/options.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "optim/modes.h"

namespace tributary::optim {
namespace {

constexpr double kMostLocalSeconds = 86400;

absl::Status Refuse(absl::string_view field, double value, absl::string_view allowed) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; allowed: ", allowed));
}

absl::Status CheckRange(absl::string_view field, double value, double min, double max) {
  if (std::isfinite(value) && value >= min && value <= max) {
    return absl::OkStatus();
  }
  return Refuse(field, value, absl::StrCat(min, " to ", max));
}

absl::Status CheckPositive(absl::string_view field, double value, double max) {
  if (std::isfinite(value) && value > 0 && value <= max) {
    return absl::OkStatus();
  }
  return Refuse(field, value, absl::StrCat("above 0, up to ", max));
}

// For averages: at 1 the past would never fade.
absl::Status CheckDecay(absl::string_view field, double value) {
  if (value >= 0 && value < 1) {
    return absl::OkStatus();
  }
  return Refuse(field, value, "0 to below 1");
}

absl::Status CheckValueBits(absl::string_view field, uint32_t bits) {
  if (bits == 1 || bits == 2 || bits == 4 || bits == 8) {
    return absl::OkStatus();
  }
  return Refuse(field, bits, "1, 2, 4 or 8");
}

// Below 1 every update would be scaled down, the median one too, and the bound with it.
absl::Status CheckNormBound(double bound) {
  if (bound == 0 || (bound >= 1 && bound <= 1e6)) {
    return absl::OkStatus();
  }
  return Refuse("norm_bound", bound, "0 (no bound), or 1 to 1e6 times the median norm");
}

absl::Status CheckSchedule(const ScheduleOptions& schedule) {
  TRIBUTARY_RETURN_IF_ERROR(CheckRange("learning_rate.kind", static_cast<int>(schedule.kind), 0, 3));
  TRIBUTARY_RETURN_IF_ERROR(CheckPositive("learning_rate.peak", schedule.peak, 100));
  TRIBUTARY_RETURN_IF_ERROR(CheckRange("learning_rate.final_ratio", schedule.final_ratio, 0, 1));
  return CheckRange("learning_rate.decay_fraction", schedule.decay_fraction, 0, 1);
}

absl::Status CheckAdam(const AdamOptions& adam) {
  TRIBUTARY_RETURN_IF_ERROR(CheckDecay("adam_beta1", adam.beta1));
  TRIBUTARY_RETURN_IF_ERROR(CheckDecay("adam_beta2", adam.beta2));
  return CheckPositive("adam_epsilon", adam.epsilon, 1);
}

// What the mode reads, and nothing else.
absl::Status CheckKeysOfMode(const OptimizerOptions& options) {
  const Keys& keys = TraitsOf(options.mode).keys;
  if (keys.Has(Key::kBeta)) {
    TRIBUTARY_RETURN_IF_ERROR(CheckRange("beta", options.beta, 0, 1));
  }
  if (keys.Has(Key::kK)) {
    TRIBUTARY_RETURN_IF_ERROR(CheckRange("k", options.k, 1, kChunkSize));
  }
  if (keys.Has(Key::kValueBits)) {
    TRIBUTARY_RETURN_IF_ERROR(CheckValueBits("value_bits", options.value_bits));
  }
  if (keys.Has(Key::kCommitK)) {
    TRIBUTARY_RETURN_IF_ERROR(CheckRange("commit_k", options.commit_k, 0, kChunkSize));
    TRIBUTARY_RETURN_IF_ERROR(CheckValueBits("commit_value_bits", options.commit_value_bits));
  }
  if (keys.Has(Key::kDomain)) {
    TRIBUTARY_RETURN_IF_ERROR(CheckRange("domain", static_cast<int>(options.domain), 0, 1));
    TRIBUTARY_RETURN_IF_ERROR(CheckRange("rule", static_cast<int>(options.rule), 0, 1));
  }
  if (keys.Has(Key::kAdam)) {
    TRIBUTARY_RETURN_IF_ERROR(CheckAdam(options.adam));
  }
  if (keys.Has(Key::kLocalSteps)) {
    TRIBUTARY_RETURN_IF_ERROR(CheckRange("local_steps", options.local_steps, 1, kMaxLocalSteps));
    TRIBUTARY_RETURN_IF_ERROR(CheckRange("local_time", absl::ToDoubleSeconds(options.local_time), 0, kMostLocalSeconds));
  }
  if (keys.Has(Key::kOuterLearningRate)) {
    TRIBUTARY_RETURN_IF_ERROR(CheckPositive("outer_learning_rate", options.outer_learning_rate, 100));
  }
  if (keys.Has(Key::kOuterMomentum)) {
    TRIBUTARY_RETURN_IF_ERROR(CheckDecay("outer_momentum", options.outer_momentum));
  }
  return absl::OkStatus();
}

// `allreduce`, `demo` and `signsgd` are there to be compared with what was published: every worker counts the same.
absl::Status CheckWeighting(const OptimizerOptions& options) {
  if (options.weighting == Weighting::kUniform || TraitsOf(options.mode).keys.Has(Key::kWeighting)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("weighting by samples: mode ", ModeName(options.mode), " counts every worker the same; allowed: uniform"));
}

absl::Status CheckAggregation(const OptimizerOptions& options) {
  TRIBUTARY_RETURN_IF_ERROR(CheckRange("aggregation", static_cast<int>(options.aggregation), 0, 4));
  const Family family = TraitsOf(options.mode).family;
  const auto refuse = [&options](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("aggregation ", AggregationName(options.aggregation), " in mode ", ModeName(options.mode), ": ", why));
  };
  switch (options.aggregation) {
    case Aggregation::kMean:
      break;
    case Aggregation::kSignVote:
      if (DirectionOf(options.mode) == Direction::kPseudoGradient) {
        return refuse(
            "local steps are as long as they are for a reason, and a sign has no length; allowed: mean, and where every value is "
            "sent also trimmed_mean and median");
      }
      break;
    case Aggregation::kTrimmedMean:
    case Aggregation::kMedian:
      if (family != Family::kValues) {
        return refuse(
            "few sites send the same component, and what one of them sends is the first to be left out, so that nothing would be "
            "learned; allowed: mean, and but for local also sign_vote");
      }
      if (options.weighting != Weighting::kUniform) {
        return refuse("every site counts the same in an order of values; set weighting: uniform");
      }
      return CheckRange("trim", options.trim, 0.01, 0.49);
    case Aggregation::kAgreement:
      if (family != Family::kSigns && !(TraitsOf(options.mode).keys.Has(Key::kNormalize) && options.normalize)) {
        return refuse("it is for votes that all count the same, in signsgd and distro with normalize; allowed: mean (with norm_bound: 1)");
      }
      break;
  }
  return absl::OkStatus();
}

}  // namespace

float LearningRate(const ScheduleOptions& schedule, uint64_t round, uint64_t rounds) {
  const double r = static_cast<double>(std::clamp<uint64_t>(round, 1, std::max<uint64_t>(rounds, 1)));
  const double last = static_cast<double>(std::max<uint64_t>(rounds, 1));
  const double warmup = static_cast<double>(schedule.warmup_rounds);
  if (r < warmup) {
    return static_cast<float>(schedule.peak * r / warmup);
  }

  // Share of the decay that lies behind round r: 0 at `begin`, 1 at the last round.
  const double begin = schedule.kind == ScheduleKind::kWarmupStableDecay ? std::max(warmup, last * (1 - schedule.decay_fraction)) : warmup;
  const double share = last > begin ? std::clamp((r - begin) / (last - begin), 0.0, 1.0) : 0.0;
  double ratio = 1;
  switch (schedule.kind) {
    case ScheduleKind::kConstant:
      break;
    case ScheduleKind::kLinear:
    case ScheduleKind::kWarmupStableDecay:
      ratio = 1 - (1 - schedule.final_ratio) * share;
      break;
    case ScheduleKind::kCosine:
      ratio = schedule.final_ratio + (1 - schedule.final_ratio) * 0.5 * (1 + std::cos(std::numbers::pi * share));
      break;
  }
  return static_cast<float>(schedule.peak * ratio);
}

absl::string_view ModeName(Mode mode) {
  return TraitsOf(mode).name;
}

absl::string_view AggregationName(Aggregation aggregation) {
  switch (aggregation) {
    case Aggregation::kMean:
      return "mean";
    case Aggregation::kSignVote:
      return "sign_vote";
    case Aggregation::kTrimmedMean:
      return "trimmed_mean";
    case Aggregation::kMedian:
      return "median";
    case Aggregation::kAgreement:
      return "agreement";
  }
  return "unknown";
}

Direction DirectionOf(Mode mode) {
  return TraitsOf(mode).direction;
}

OptimizerOptions Defaults(Mode mode) {
  OptimizerOptions options = TraitsOf(mode).defaults;
  options.mode = mode;
  return options;
}

absl::Status Validate(const OptimizerOptions& options) {
  TRIBUTARY_RETURN_IF_ERROR(CheckRange("mode", static_cast<int>(options.mode), 0, static_cast<int>(kModes.size()) - 1));
  TRIBUTARY_RETURN_IF_ERROR(CheckSchedule(options.learning_rate));
  TRIBUTARY_RETURN_IF_ERROR(CheckRange("rounds", static_cast<double>(options.rounds), 1, 1e8));
  TRIBUTARY_RETURN_IF_ERROR(CheckRange("clip_norm", options.clip_norm, 0, 1e6));
  TRIBUTARY_RETURN_IF_ERROR(CheckNormBound(options.norm_bound));
  TRIBUTARY_RETURN_IF_ERROR(CheckRange("weight_decay", options.weight_decay, 0, 1));
  TRIBUTARY_RETURN_IF_ERROR(CheckWeighting(options));
  TRIBUTARY_RETURN_IF_ERROR(CheckAggregation(options));
  return CheckKeysOfMode(options);
}

RoundParameters ParametersForRound(const OptimizerOptions& options, uint64_t round) {
  RoundParameters parameters;
  parameters.round = round;
  parameters.learning_rate = LearningRate(options.learning_rate, round, options.rounds);
  parameters.local_steps = DirectionOf(options.mode) == Direction::kPseudoGradient ? options.local_steps : 1;
  return parameters;
}

}  // namespace tributary::optim
