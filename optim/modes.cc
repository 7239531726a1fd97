// The table of modes, and the factories that pick by it.
#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "optim/aggregator.h"
#include "optim/dense_modes.h"
#include "optim/encoder.h"
#include "optim/options.h"
#include "optim/replica_state.h"
#include "optim/sparse_modes.h"

namespace tributary::optim {
namespace {

enum class Family { kSparse, kDense };

struct ModeTraits {
  absl::string_view name;  // as in run.yaml
  Family family;
  Direction direction;
  int slots;
};

// By the value of Mode.
constexpr std::array<ModeTraits, 7> kModes = {{
    {"allreduce", Family::kDense, Direction::kGradient, 2},
    {"demo", Family::kSparse, Direction::kGradient, 0},
    {"distro", Family::kSparse, Direction::kGradient, 0},
    {"local", Family::kSparse, Direction::kPseudoGradient, 0},
    {"fedavg", Family::kDense, Direction::kPseudoGradient, 0},
    {"diloco", Family::kDense, Direction::kPseudoGradient, 1},
    {"signsgd", Family::kDense, Direction::kGradient, 0},
}};

const ModeTraits& TraitsOf(Mode mode) {
  return kModes[static_cast<size_t>(mode)];
}

}  // namespace

absl::string_view ModeName(Mode mode) {
  return TraitsOf(mode).name;
}

Direction DirectionOf(Mode mode) {
  return TraitsOf(mode).direction;
}

int SlotCount(Mode mode) {
  return TraitsOf(mode).slots;
}

absl::StatusOr<std::unique_ptr<UpdateEncoder>> MakeUpdateEncoder(const OptimizerOptions& options, const Layout& layout, int threads) {
  TRIBUTARY_RETURN_IF_ERROR(Validate(options));
  if (TraitsOf(options.mode).family == Family::kDense) {
    return MakeDenseEncoder(options, layout);
  }
  return MakeSparseEncoder(options, layout, threads);
}

absl::StatusOr<std::unique_ptr<Aggregator>> MakeAggregator(const OptimizerOptions& options, const Layout& layout) {
  TRIBUTARY_RETURN_IF_ERROR(Validate(options));
  if (TraitsOf(options.mode).family == Family::kDense) {
    return MakeDenseAggregator(options, layout);
  }
  return MakeSparseAggregator(options, layout);
}

absl::StatusOr<uint32_t> WeightOf(const OptimizerOptions& options, uint64_t samples) {
  if (options.weighting == Weighting::kUniform) {
    return kMaxWeight;
  }
  if (samples == 0) {
    return absl::InvalidArgumentError("the run weighs updates by samples, and this one comes without their number");
  }
  return static_cast<uint32_t>(std::min<uint64_t>(samples, kMaxWeight));
}

absl::Status CheckWeight(const OptimizerOptions& options, uint32_t weight) {
  const uint32_t least = options.weighting == Weighting::kUniform ? kMaxWeight : 1;
  if (weight >= least && weight <= kMaxWeight) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("weight ", weight, "; allowed: ", least, " to ", kMaxWeight));
}

PayloadBounds MaxPayloadBytes(const OptimizerOptions& options, const Layout& layout) {
  if (TraitsOf(options.mode).family == Family::kDense) {
    const uint64_t bytes = MaxDensePayloadBytes(options, layout);
    return {bytes, bytes};
  }
  return MaxSparsePayloadBytes(options, layout);
}

absl::StatusOr<ReplicaState> InitialState(const OptimizerOptions& options, const Layout& layout, std::vector<float> theta) {
  if (theta.size() != static_cast<size_t>(layout.size())) {
    return absl::InvalidArgumentError(absl::StrCat("theta has ", theta.size(), " elements, the layout ", layout.size()));
  }
  ReplicaState state;
  state.slots.assign(SlotCount(options.mode), std::vector<float>(theta.size(), 0.0f));
  state.theta = std::move(theta);
  return state;
}

}  // namespace tributary::optim
