// Means of fp32 values: `allreduce`, `fedavg`, `diloco`.
#include <bit>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "common/status_macros.h"
#include "optim/dense_modes.h"
#include "optim/dense_payload.h"
#include "optim/empty_state.h"
#include "optim/integer_runs.h"
#include "optim/live_pieces.h"
#include "optim/round_aggregator.h"
#include "optim/simd.h"

namespace tributary::optim {
namespace {

// A value v of weight w adds round(v * w * kUnitsOfWeight) to its sum.
constexpr double kUnitsOfWeight = static_cast<double>(int64_t{1} << kDenseFractionBits) / kMaxWeight;
// Units that an update of weight 1 adds at most.
constexpr auto kBoundOfWeight = static_cast<int64_t>(double{kDenseValueBound} * kUnitsOfWeight);
static_assert(kBoundOfWeight <= INT64_MAX / kMaxWorkers / kMaxWeight);

// Rounds value * units to the nearest integer, ties to even: adding 1.5 * 2^52 leaves the integer in the low bits of a double, exactly,
// because units <= 2^40 has at most 24 significant bits and |value| * units <= 2^50.
TRIBUTARY_SIMD_CLONES
void AddFixed(const char* __restrict bytes, double units, int64_t size, int64_t* __restrict sums) {
  constexpr double kMagic = 6755399441055744.0;
  for (int64_t i = 0; i < size; ++i) {
    float value;
    std::memcpy(&value, bytes + i * sizeof(value), sizeof(value));
    const double shifted = static_cast<double>(value) * units + kMagic;
    sums[i] += std::bit_cast<int64_t>(shifted) - std::bit_cast<int64_t>(kMagic);
  }
}

TRIBUTARY_SIMD_CLONES
void PackMean(const int64_t* __restrict sums, double divisor, int64_t size, char* __restrict bytes) {
  for (int64_t i = 0; i < size; ++i) {
    const float value = static_cast<float>(static_cast<double>(sums[i]) / divisor);
    std::memcpy(bytes + i * sizeof(value), &value, sizeof(value));
  }
}

class ValueAggregator final : public RoundAggregator {
 public:
  ValueAggregator(const OptimizerOptions& options, const Layout& layout)
      : RoundAggregator(options, layout), pieces_(CutLive(layout, kValuePiece)) {}

  absl::Status Check(absl::string_view payload) const override { return CheckDensePayload(layout(), pieces_, payload); }

  std::string SaveState() const override { return EmptyState("aggregator", options(), layout()); }
  absl::Status RestoreState(absl::string_view state) override {
    TRIBUTARY_RETURN_IF_ERROR(CheckEmptyState("aggregator", options(), layout(), state));
    CloseRound();
    return absl::OkStatus();
  }

 private:
  void Open() override { sums_.assign(LiveSize(pieces_), 0); }

  absl::Status Sum(absl::string_view payload, uint32_t weight, int sign) override {
    TRIBUTARY_RETURN_IF_ERROR(Check(payload));
    // Ties are rounded to even, so that what is taken back is what was added.
    const double units = sign * (weight * kUnitsOfWeight);
    for (const LivePiece& piece : pieces_) {
      AddFixed(payload.data() + kDenseHeaderSize + piece.live * sizeof(float), units, piece.size, sums_.data() + piece.live);
    }
    return absl::OkStatus();
  }

  std::string Collect() override {
    std::string payload(DensePayloadBytes(layout()), '\0');
    payload[0] = static_cast<char>(kDenseVersion);
    const double divisor = kUnitsOfWeight * static_cast<double>(weights());
    for (const LivePiece& piece : pieces_) {
      PackMean(sums_.data() + piece.live, divisor, piece.size, payload.data() + kDenseHeaderSize + piece.live * sizeof(float));
    }
    return payload;
  }

  void TakeSums(std::string& out) override { AppendRuns(absl::MakeConstSpan(sums_), out); }

  absl::Status MergeSums(absl::string_view sums, uint32_t, uint64_t weights) override {
    std::vector<int64_t> more(sums_.size());
    TRIBUTARY_RETURN_IF_ERROR(ReadRuns(sums, static_cast<int64_t>(weights) * kBoundOfWeight, absl::MakeSpan(more)));
    if (!sums.empty()) {
      return absl::InvalidArgumentError("longer than its places");
    }
    for (size_t i = 0; i < sums_.size(); ++i) {
      sums_[i] += more[i];
    }
    return absl::OkStatus();
  }

  const std::vector<LivePiece> pieces_;
  std::vector<int64_t> sums_;  // [live parameters]
};

}  // namespace

std::unique_ptr<Aggregator> MakeValueAggregator(const OptimizerOptions& options, const Layout& layout) {
  return std::make_unique<ValueAggregator>(options, layout);
}

}  // namespace tributary::optim
