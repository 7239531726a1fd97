// The replicas' half of the sparse modes. Bit-exact: a component is an integer, its transform is integer arithmetic (optim/dct.h), and each
// parameter then takes single IEEE operations in one order, in all copies of the code and on any number of threads.
#include "common/status_macros.h"
#include "optim/modes.h"
#include "optim/simd.h"
#include "optim/sparse_chunk.h"
#include "optim/sparse_modes.h"

namespace tributary::optim {
namespace {

inline float SignOf(float value) {
  return static_cast<float>((value > 0.0f) - (value < 0.0f));
}

// theta of one patch; v in the tile's places.
TRIBUTARY_SIMD_CLONES void Decay(const Patch& patch, float decay, float* theta) {
  ForEachRow(
      patch, [=](int64_t cols, int64_t at, int64_t) __attribute__((always_inline)) {
        for (int64_t j = 0; j < cols; ++j) {
          theta[at + j] *= decay;
        }
      });
}

TRIBUTARY_SIMD_CLONES void StepScaled(const Patch& patch, float decay, float step, const float* __restrict v, float* __restrict theta) {
  ForEachRow(
      patch, [=](int64_t cols, int64_t at, int64_t in_tile) __attribute__((always_inline)) {
        for (int64_t j = 0; j < cols; ++j) {
          theta[at + j] = theta[at + j] * decay - step * v[in_tile + j];
        }
      });
}

TRIBUTARY_SIMD_CLONES void StepSign(const Patch& patch, float decay, float step, const float* __restrict v, float* __restrict theta) {
  ForEachRow(
      patch, [=](int64_t cols, int64_t at, int64_t in_tile) __attribute__((always_inline)) {
        for (int64_t j = 0; j < cols; ++j) {
          theta[at + j] = theta[at + j] * decay - step * SignOf(v[in_tile + j]);
        }
      });
}

// One commit's step.
struct Step {
  Rule rule;
  float rate;   // lr or outer_learning_rate
  float decay;  // 1 - lr * weight_decay
};

Step StepOf(const OptimizerOptions& options, const CommitHead& commit) {
  const ModeTraits& mode = TraitsOf(options.mode);
  const bool decayed = mode.direction == Direction::kPseudoGradient;  // in the local steps
  return {.rule = mode.family == Family::kFloatComponents ? Rule::kSign : options.rule,
          .rate = commit.learning_rate,
          .decay = decayed ? 1.0f : 1.0f - commit.learning_rate * options.weight_decay};
}

void ApplyChunk(const Step& step, const Segment& segment, int64_t chunk, float scale, absl::Span<const uint16_t> index,
                absl::Span<const int32_t> value, ChunkWorkspace& work, float* theta) {
  const bool decays = step.decay != 1.0f;
  const bool sign = step.rule == Rule::kSign;
  const float rate = sign ? step.rate : step.rate * scale;
  if (index.empty() || !segment.transformed) {
    if (decays) {
      segment.ForEachPatch(chunk, [&](const Patch& patch) { Decay(patch, step.decay, theta); });
    }
    ForEachParameter(segment, chunk, index, value, [&](int64_t at, int32_t q) {
      const auto v = static_cast<float>(q);
      theta[at] -= rate * (sign ? SignOf(v) : v);
    });
    return;
  }
  Prefetch(segment, chunk + 1, theta);
  InverseDct(segment.rows, segment.cols, index, value, work.dct, work.tile);
  const auto update = sign ? StepSign : StepScaled;
  segment.ForEachPatch(chunk, [&](const Patch& patch) { update(patch, step.decay, rate, work.tile.at.data(), theta); });
}

}  // namespace

absl::Status ApplySparse(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                         ReplicaState& state, int threads) {
  const ChunkPlan plan(options, layout);
  std::string scratch;
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view bytes, payload.Slice(0, payload.size(), scratch));
  SparseValues values;
  TRIBUTARY_RETURN_IF_ERROR(DecodePayload(plan.commit_shape(), bytes, values));
  const Step step = StepOf(options, commit);
  ForEachChunk(plan, threads, [&](size_t number, int64_t chunk, ChunkWorkspace& work) {
    const Segment& segment = plan.segments()[number];
    ApplyChunk(step, segment, chunk - segment.first_chunk, values.scales[number], IndexOf(values, chunk), ValueOf(values, chunk), work,
               state.theta.data());
  });
  return absl::OkStatus();
}

}  // namespace tributary::optim
