// What a run chooses of the update algebra, in plain types (proto/config/run_options.h converts RunSpec to these).
#ifndef TRIBUTARY_OPTIM_OPTIONS_H_
#define TRIBUTARY_OPTIM_OPTIONS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tributary::optim {

// Components are counted per this many parameters; chunks of the identity domain have this length.
inline constexpr int64_t kChunkSize = 4096;
// Edge of a DCT tile (a tile of a matrix holds at most kTileEdge^2 = kChunkSize parameters).
inline constexpr int64_t kTileEdge = 64;
// Workers that one round may aggregate; accumulator ranges are proven for it.
inline constexpr int64_t kMaxWorkers = 4096;
inline constexpr uint32_t kMaxLocalSteps = 100000;
// Fewest steps of a site that counts them by time: after one, its update would be a gradient, which tells more of its samples.
inline constexpr uint32_t kLeastTimedSteps = 2;

enum class Mode { kAllReduce, kDemo, kDistro, kLocal, kFedAvg, kDiLoCo, kSignSgd };
absl::string_view ModeName(Mode mode);

// Where components are selected: in the parameters themselves, or in their orthonormal DCT-II.
enum class Domain { kIdentity, kDct };

// What a replica does with a decoded commit v: theta -= step * v, or theta -= step * sign(v) with sign(0) = 0.
enum class Rule { kScaled, kSign };

// How the mean of a round weighs its updates: all the same, or by the samples of their site's training split.
enum class Weighting { kUniform, kSamples };

// How the updates of a round become one. Which mode takes which, Validate says.
enum class Aggregation {
  kMean,         // as the mode says: a mean, or `signsgd`'s majority
  kSignVote,     // of each value only the sign counts
  kTrimmedMean,  // coordinate by coordinate, without the largest and smallest
  kMedian,       // coordinate by coordinate
  kAgreement,    // as kMean, without sites that push against the others round after round (agreement.h)
};
absl::string_view AggregationName(Aggregation aggregation);

enum class ScheduleKind { kConstant, kLinear, kCosine, kWarmupStableDecay };

struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::kCosine;
  double peak = 1e-3;
  uint64_t warmup_rounds = 0;
  double final_ratio = 0.1;     // of the peak, reached at the last round and kept after it
  double decay_fraction = 0.2;  // kWarmupStableDecay: share of the rounds that decay
};

// Learning rate of round `round` (1-based) of `rounds`. Warm-up is linear from peak/warmup_rounds. Clamped after the last round.
// The coordinator alone evaluates it (libm differs between machines) and sends the fp32 result.
float LearningRate(const ScheduleOptions& schedule, uint64_t round, uint64_t rounds);

struct AdamOptions {
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float epsilon = 1e-8f;
};

// Fields that a mode does not read are ignored; Defaults(mode) fills every field with the mode's defaults.
struct OptimizerOptions {
  Mode mode = Mode::kDistro;
  ScheduleOptions learning_rate = {};
  uint64_t rounds = 1;
  float clip_norm = 1.0f;  // 0: off
  // How many medians of norms an update may weigh in a sum (norm_gate.h); 0: off, as in runs of releases that had no bound.
  float norm_bound = 0.0f;
  float weight_decay = 0.0f;
  AdamOptions adam = {};
  uint32_t local_steps = 1;
  // More than 0: a site takes as many local steps as fit into this time in a round, and `local_steps` is kLeastTimedSteps.
  absl::Duration local_time = absl::ZeroDuration();
  float beta = 0.999f;      // residual decay
  uint32_t k = 32;          // components kept of kChunkSize (kDemo: of one chunk)
  uint32_t value_bits = 1;  // 1, 2, 4, 8
  Domain domain = Domain::kDct;
  Rule rule = Rule::kSign;
  bool normalize = true;   // unit norm per worker before the mean
  uint32_t commit_k = 32;  // components of the commit of kChunkSize; 0: the union of the supports
  uint32_t commit_value_bits = 4;
  float outer_learning_rate = 1.0f;
  float outer_momentum = 0.0f;
  Aggregation aggregation = Aggregation::kMean;
  float trim = 0.2f;                          // kTrimmedMean: share of a round's updates that is left out at each end, rounded up
  Weighting weighting = Weighting::kUniform;  // kSamples: distro, local, fedavg, diloco
};

// The columns of the table of modes (modes.h) that others ask for.
OptimizerOptions Defaults(Mode mode);

// InvalidArgument names the field, the value and what is allowed.
absl::Status Validate(const OptimizerOptions& options);

inline bool StepsAreTimed(const OptimizerOptions& options) {
  return options.local_time > absl::ZeroDuration();
}

// What a coordinator tells everybody about one round.
struct RoundParameters {
  uint64_t round = 1;          // 1-based: commit[round] leads from state[round-1] to state[round]
  float learning_rate = 0.0f;  // at the worker's local steps, or at the replicas' step, as the mode says
  uint32_t local_steps = 1;    // with timed steps: those that every update is scaled to, however many its site took
};

// With timed steps: as of a first round, before any site has taken some (coordinator/run/timed_steps.h has the others).
RoundParameters ParametersForRound(const OptimizerOptions& options, uint64_t round);

// What a worker's trainer must hand to UpdateEncoder::Encode.
enum class Direction {
  kGradient,        // mean gradient over the batch at the round's base state (local_steps = 1)
  kPseudoGradient,  // theta_start - theta_local after local_steps inner AdamW steps (or as many as the site took, and scaled to these)
};
Direction DirectionOf(Mode mode);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_OPTIONS_H_
