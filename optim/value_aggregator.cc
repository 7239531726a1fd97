// Means of fp32 values: `allreduce`, `fedavg`, `diloco`.
#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "optim/dense_modes.h"
#include "optim/dense_payload.h"
#include "optim/empty_state.h"
#include "optim/integer_runs.h"
#include "optim/live_pieces.h"
#include "optim/round_aggregator.h"
#include "optim/simd.h"
#include "optim/value_slices.h"

namespace tributary::optim {
namespace {

// A value v of weight w adds round(v * w * kUnitsOfWeight) to its sum.
constexpr double kUnitsOfWeight = static_cast<double>(int64_t{1} << kDenseFractionBits) / kMaxWeight;
// Units that an update of weight 1 adds at most.
constexpr auto kBoundOfWeight = static_cast<int64_t>(double{kDenseValueBound} * kUnitsOfWeight);
static_assert(kBoundOfWeight <= INT64_MAX / kMaxWorkers / kMaxWeight);

// Rounds value * units to the nearest integer, ties to even: adding 1.5 * 2^52 leaves the integer in the low bits of a double, exactly if
// units has at most 24 significant bits, because units <= 2^40 and |value| * units <= 2^50. Of an update that is scaled down the product is
// rounded before, the same on every machine and for both signs.
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

// The same of the values' signs: a vote of `units`.
TRIBUTARY_SIMD_CLONES
void AddVotes(const char* __restrict bytes, double units, int64_t size, int64_t* __restrict sums) {
  const auto vote = static_cast<int64_t>(units);
  for (int64_t i = 0; i < size; ++i) {
    float value;
    std::memcpy(&value, bytes + i * sizeof(value), sizeof(value));
    sums[i] += value > 0 ? vote : value < 0 ? -vote : 0;
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

  absl::StatusOr<double> Measure(absl::string_view payload) const override {
    TRIBUTARY_RETURN_IF_ERROR(CheckDensePayload(layout(), pieces_, BorrowedBytes(payload)));
    return bounds_norms() ? NormOfDensePayload(pieces_, BorrowedBytes(payload)) : 0.0;
  }

 private:
  // An update that stays where it is until the round is closed.
  struct Stored {
    SharedBytes payload;
    uint32_t weight;
    double norm;
    double share;
  };
  // What there is in memory of the piece that a thread packs.
  struct Slice {
    std::vector<int64_t> sums;
    std::string values;
    std::string packed;
    absl::Status status;
  };

  void Open() override {
    sums_.clear();
    stored_.clear();
  }

  std::string SaveSum() const override { return EmptyState("aggregator", options(), layout()); }
  absl::Status RestoreSum(absl::string_view state) override {
    TRIBUTARY_RETURN_IF_ERROR(CheckEmptyState("aggregator", options(), layout(), state));
    stored_.clear();
    return absl::OkStatus();
  }

  absl::StatusOr<double> Sum(absl::string_view payload, uint32_t weight, int sign) override {
    TRIBUTARY_ASSIGN_OR_RETURN(const double norm, Measure(payload));
    TRIBUTARY_ASSIGN_OR_RETURN(const double share, BoundedShare(norm));
    HoldSums();
    // Ties are rounded to even, so that what is taken back is what was added.
    AddValues(payload.data() + kDenseHeaderSize, sign * (weight * kUnitsOfWeight * share), LiveSize(pieces_), sums_.data());
    return norm;
  }

  absl::StatusOr<double> SumStored(const SharedBytes& payload, uint32_t weight, int sign, std::optional<double> norm) override {
    if (sign > 0) {
      TRIBUTARY_RETURN_IF_ERROR(CheckDenseLength(pieces_, payload->size()));
      if (!norm.has_value()) {
        TRIBUTARY_ASSIGN_OR_RETURN(norm, bounds_norms() ? NormOfDensePayload(pieces_, *payload) : 0.0);
      }
      TRIBUTARY_ASSIGN_OR_RETURN(const double share, BoundedShare(*norm));
      stored_.push_back({payload, weight, *norm, share});
      return *norm;
    }
    const auto found = std::find_if(stored_.begin(), stored_.end(),
                                    [&](const Stored& stored) { return stored.payload == payload && stored.weight == weight; });
    if (found == stored_.end()) {
      return absl::FailedPreconditionError("the round does not hold this update with this weight");
    }
    const double held = found->norm;
    stored_.erase(found);
    return held;
  }

  absl::Status Collect(int threads, absl::FunctionRef<absl::Status(uint64_t bytes)> begin, ByteSink sink) override {
    const std::vector<Stored> stored = std::exchange(stored_, {});
    TRIBUTARY_RETURN_IF_ERROR(begin(DensePayloadBytes(layout())));
    TRIBUTARY_RETURN_IF_ERROR(sink(absl::string_view(reinterpret_cast<const char*>(&kDenseVersion), kDenseHeaderSize)));
    const double divisor = kUnitsOfWeight * static_cast<double>(weights());
    const int64_t live = LiveSize(pieces_);
    const auto pack = [&](int64_t first, int64_t size, Slice& slice) { return Pack(stored, first, size, divisor, slice); };
    return PackSlices<Slice>(live, kValuePiece, threads, pack, sink);
  }

  // A list of all sums is as long as they are, so that there is nothing to gain from slices.
  absl::Status TakeSums(std::string& out) override {
    const std::vector<Stored> stored = std::exchange(stored_, {});
    HoldSums();
    std::string values;
    const int64_t live = LiveSize(pieces_);
    for (int64_t first = 0; first < live; first += kValuePiece) {
      TRIBUTARY_RETURN_IF_ERROR(AddStoredPiece(stored, first, std::min(kValuePiece, live - first), values, sums_.data() + first));
    }
    AppendRuns(absl::MakeConstSpan(sums_), out);
    return absl::OkStatus();
  }

  absl::Status MergeSums(absl::string_view sums, uint32_t, uint64_t weights) override {
    std::vector<int64_t> more(LiveSize(pieces_));
    TRIBUTARY_RETURN_IF_ERROR(ReadRuns(sums, static_cast<int64_t>(weights) * kBoundOfWeight, absl::MakeSpan(more)));
    if (!sums.empty()) {
      return absl::InvalidArgumentError("longer than its places");
    }
    HoldSums();
    for (size_t i = 0; i < sums_.size(); ++i) {
      sums_[i] += more[i];
    }
    return absl::OkStatus();
  }

  void AddValues(const char* bytes, double units, int64_t size, int64_t* sums) const {
    if (options().aggregation == Aggregation::kSignVote) {
      AddVotes(bytes, units, size, sums);
    } else {
      AddFixed(bytes, units, size, sums);
    }
  }

  void HoldSums() {
    if (sums_.empty()) {
      sums_.assign(LiveSize(pieces_), 0);
    }
  }

  // Adds the live parameters [first, first + size) of stored updates to `sums`. `scratch` is for what is read.
  absl::Status AddStoredPiece(absl::Span<const Stored> stored, int64_t first, int64_t size, std::string& scratch, int64_t* sums) const {
    for (const Stored& update : stored) {
      TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view values,
                                 update.payload->Slice(kDenseHeaderSize + first * sizeof(float), size * sizeof(float), scratch));
      // They were, when the update was checked; on others, the sum could overflow.
      if (!AreCanonicalValues(values.data(), size)) {
        return WithExitCode(absl::DataLossError("a stored update has changed since it was checked"), ExitCode::kDamaged);
      }
      AddValues(values.data(), update.weight * kUnitsOfWeight * update.share, size, sums);
    }
    return absl::OkStatus();
  }

  // The means of the live parameters [first, first + size), as slice.packed.
  absl::Status Pack(absl::Span<const Stored> stored, int64_t first, int64_t size, double divisor, Slice& slice) const {
    slice.sums.assign(size, 0);
    if (!sums_.empty()) {
      std::copy_n(sums_.begin() + first, size, slice.sums.begin());
    }
    TRIBUTARY_RETURN_IF_ERROR(AddStoredPiece(stored, first, size, slice.values, slice.sums.data()));
    slice.packed.resize(size * sizeof(float));
    PackMean(slice.sums.data(), divisor, size, slice.packed.data());
    return absl::OkStatus();
  }

  const std::vector<LivePiece> pieces_;
  std::vector<int64_t> sums_;   // [live parameters] of what was not stored; empty: nothing
  std::vector<Stored> stored_;  // the rest
};

}  // namespace

std::unique_ptr<Aggregator> MakeValueAggregator(const OptimizerOptions& options, const Layout& layout) {
  if (HoldsUpdates(options)) {
    return MakeOrderedAggregator(options, layout);
  }
  return std::make_unique<ValueAggregator>(options, layout);
}

}  // namespace tributary::optim
