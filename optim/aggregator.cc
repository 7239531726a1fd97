#include "optim/aggregator.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/assert.h"
#include "common/status_macros.h"
#include "optim/dense_payload.h"
#include "optim/live_pieces.h"
#include "optim/modes.h"
#include "optim/norm_gate.h"

namespace tributary::optim {

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

bool UpdatesStayStored(Mode mode) {
  return TraitsOf(mode).family == Family::kValues;
}

bool HoldsUpdates(const OptimizerOptions& options) {
  return options.aggregation == Aggregation::kTrimmedMean || options.aggregation == Aggregation::kMedian;
}

absl::StatusOr<double> MeasureStoredUpdate(const OptimizerOptions& options, const Layout& layout, const StoredBytes& payload) {
  TRIBUTARY_ASSERT(UpdatesStayStored(options.mode), "updates of mode ", ModeName(options.mode), " are checked in memory");
  const std::vector<LivePiece> pieces = CutLive(layout, kValuePiece);
  TRIBUTARY_RETURN_IF_ERROR(CheckDensePayload(layout, pieces, payload));
  return BoundsNorms(options) ? NormOfDensePayload(pieces, payload) : 0.0;
}

std::optional<uint64_t> FixedRecordBytes(const OptimizerOptions& options, const Layout& layout) {
  if (!UpdatesStayStored(options.mode)) {
    return std::nullopt;
  }
  return kCommitHeadBytes + DensePayloadBytes(layout);
}

absl::StatusOr<std::unique_ptr<Aggregator>> MakeAggregator(const OptimizerOptions& options, const Layout& layout) {
  TRIBUTARY_RETURN_IF_ERROR(Validate(options));
  return TraitsOf(options.mode).make_aggregator(options, layout);
}

}  // namespace tributary::optim
