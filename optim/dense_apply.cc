// The replicas' half of the dense modes.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/status_macros.h"
#include "optim/adamw.h"
#include "optim/dense_modes.h"
#include "optim/dense_payload.h"
#include "optim/live_pieces.h"
#include "optim/parallel.h"
#include "optim/sign_payload.h"
#include "optim/simd.h"

namespace tributary::optim {
namespace {

TRIBUTARY_SIMD_CLONES
void SubtractScaled(const char* __restrict mean, float rate, int64_t size, float* __restrict theta) {
  for (int64_t i = 0; i < size; ++i) {
    float value;
    std::memcpy(&value, mean + i * sizeof(value), sizeof(value));
    theta[i] = theta[i] - rate * value;
  }
}

TRIBUTARY_SIMD_CLONES
void NesterovElements(const char* __restrict mean, float rate, float momentum, int64_t size, float* __restrict b, float* __restrict theta) {
  for (int64_t i = 0; i < size; ++i) {
    float value;
    std::memcpy(&value, mean + i * sizeof(value), sizeof(value));
    const float new_b = momentum * b[i] + value;
    b[i] = new_b;
    theta[i] = theta[i] - rate * (value + momentum * new_b);
  }
}

// Checks the payload, then calls step(piece, its means) for each piece. The means are not aligned.
template <typename Step>
absl::Status ForEachMean(const Layout& layout, const StoredBytes& payload, int threads, const Step& step) {
  const std::vector<LivePiece> pieces = CutLive(layout, kValuePiece);
  TRIBUTARY_RETURN_IF_ERROR(CheckDensePayload(layout, pieces, payload, threads));
  return ForEachPiece(pieces, payload, threads, [&step](const LivePiece& piece, const char* mean) {
    step(piece, mean);
    return absl::OkStatus();
  });
}

}  // namespace

absl::Status ApplyAdamW(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                        ReplicaState& state, int threads) {
  return ForEachMean(layout, payload, threads, [&](const LivePiece& piece, const char* mean) {
    float gradient[1 << 12];  // aligned, and within the first-level cache
    int64_t size = 0;
    for (int64_t begin = 0; begin < piece.size; begin += size) {
      size = std::min<int64_t>(std::size(gradient), piece.size - begin);
      std::memcpy(gradient, mean + begin * sizeof(float), size * sizeof(float));
      const auto part = [&](std::vector<float>& values) { return absl::MakeSpan(values).subspan(piece.theta + begin, size); };
      AdamWStep(options.adam, commit.learning_rate, options.weight_decay, commit.round, absl::MakeConstSpan(gradient, size),
                part(state.slots[0]), part(state.slots[1]), part(state.theta));
    }
  });
}

absl::Status ApplyMean(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                       ReplicaState& state, int threads) {
  return ForEachMean(layout, payload, threads, [&](const LivePiece& piece, const char* mean) {
    SubtractScaled(mean, options.outer_learning_rate, piece.size, state.theta.data() + piece.theta);
  });
}

absl::Status ApplyNesterov(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                           ReplicaState& state, int threads) {
  return ForEachMean(layout, payload, threads, [&](const LivePiece& piece, const char* mean) {
    NesterovElements(mean, options.outer_learning_rate, options.outer_momentum, piece.size, state.slots[0].data() + piece.theta,
                     state.theta.data() + piece.theta);
  });
}

absl::Status ApplyVote(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                       ReplicaState& state, int threads) {
  const std::vector<LivePiece> pieces = CutLive(layout, kSignPiece);
  std::string scratch;
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view bytes, payload.Slice(0, payload.size(), scratch));
  std::vector<SignPiece> found(pieces.size());
  TRIBUTARY_RETURN_IF_ERROR(ParseSigns(pieces, bytes, found.data()));
  const float keep = 1.0f - commit.learning_rate * options.weight_decay;
  ParallelFor(threads, static_cast<int64_t>(pieces.size()), [&](int64_t p) {
    const LivePiece& piece = pieces[p];
    float vote[kSignPiece] = {};
    ForEachSign(found[p], piece.size, [&vote](int64_t i, int sign) { vote[i] = static_cast<float>(sign); });
    float* theta = state.theta.data() + piece.theta;
    for (int64_t i = 0; i < piece.size; ++i) {
      theta[i] = theta[i] * keep - commit.learning_rate * vote[i];
    }
  });
  return absl::OkStatus();
}

}  // namespace tributary::optim
