// Coordinate-wise order statistics of fp32 values, for `allreduce`, `fedavg` and `diloco`: trimmed means and medians.
//
// Of each parameter the updates' values are put in order, as integers, and the mean of those in the middle is committed: exact, whatever
// the order of arrival. An order needs all values at once: updates that stay stored are read slice by slice when the round is closed, and
// others are held until then, so that memory is O(workers x model) where updates are not in files.
#include <algorithm>
#include <bit>
#include <cmath>
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
#include "optim/live_pieces.h"
#include "optim/parallel.h"
#include "optim/round_aggregator.h"
#include "optim/value_slices.h"

namespace tributary::optim {
namespace {

// Values of all updates together in a thread's slice.
constexpr int64_t kSliceValues = int64_t{1} << 20;
// A value v is the integer round(v * kUnits); kMaxWorkers of at most kDenseValueBound sum to at most 2^62.
constexpr double kUnits = static_cast<double>(int64_t{1} << kDenseFractionBits);

class OrderedAggregator final : public RoundAggregator {
 public:
  OrderedAggregator(const OptimizerOptions& options, const Layout& layout)
      : RoundAggregator(options, layout), pieces_(CutLive(layout, kValuePiece)) {}

  absl::StatusOr<double> Measure(absl::string_view payload) const override {
    TRIBUTARY_RETURN_IF_ERROR(CheckDensePayload(layout(), pieces_, BorrowedBytes(payload)));
    return bounds_norms() ? NormOfDensePayload(pieces_, BorrowedBytes(payload)) : 0.0;
  }

 private:
  struct Update {
    SharedBytes payload;
    bool stored = false;
    double norm = 0;
    double share = 1;
  };
  // What there is in memory of the piece that a thread packs.
  struct Slice {
    std::vector<int64_t> units;  // [parameters of the slice * updates]: those of one parameter side by side
    std::string values;
    std::string packed;
    absl::Status status;
  };

  void Open() override { updates_.clear(); }
  std::string SaveSum() const override { return EmptyState("aggregator", options(), layout()); }
  absl::Status RestoreSum(absl::string_view state) override {
    TRIBUTARY_RETURN_IF_ERROR(CheckEmptyState("aggregator", options(), layout(), state));
    updates_.clear();
    return absl::OkStatus();
  }

  absl::StatusOr<double> Sum(absl::string_view payload, uint32_t, int sign) override {
    if (sign < 0) {
      return Forget([payload](const Update& update) {
        std::string scratch;
        const absl::StatusOr<absl::string_view> held = update.payload->Slice(0, update.payload->size(), scratch);
        return !update.stored && held.ok() && *held == payload;
      });
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const double norm, Measure(payload));
    TRIBUTARY_ASSIGN_OR_RETURN(const double share, BoundedShare(norm));
    updates_.push_back({InMemory(std::string(payload)), false, norm, share});
    return norm;
  }

  absl::StatusOr<double> SumStored(const SharedBytes& payload, uint32_t, int sign, std::optional<double> norm) override {
    if (sign < 0) {
      return Forget([&payload](const Update& update) { return update.payload == payload; });
    }
    TRIBUTARY_RETURN_IF_ERROR(CheckDenseLength(pieces_, payload->size()));
    if (!norm.has_value()) {
      TRIBUTARY_ASSIGN_OR_RETURN(norm, bounds_norms() ? NormOfDensePayload(pieces_, *payload) : 0.0);
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const double share, BoundedShare(*norm));
    updates_.push_back({payload, true, *norm, share});
    return *norm;
  }

  template <typename Which>
  absl::StatusOr<double> Forget(Which which) {
    const auto found = std::find_if(updates_.begin(), updates_.end(), which);
    if (found == updates_.end()) {
      return absl::FailedPreconditionError("the round does not hold this update");
    }
    const double norm = found->norm;
    updates_.erase(found);
    return norm;
  }

  absl::Status Collect(int threads, absl::FunctionRef<absl::Status(uint64_t bytes)> begin, ByteSink sink) override {
    const std::vector<Update> updates = std::exchange(updates_, {});
    const auto count = static_cast<int64_t>(updates.size());
    TRIBUTARY_RETURN_IF_ERROR(begin(DensePayloadBytes(layout())));
    TRIBUTARY_RETURN_IF_ERROR(sink(absl::string_view(reinterpret_cast<const char*>(&kDenseVersion), kDenseHeaderSize)));
    const auto pack = [&](int64_t first, int64_t size, Slice& slice) { return Pack(updates, first, size, slice); };
    return PackSlices<Slice>(LiveSize(pieces_), std::clamp<int64_t>(kSliceValues / count, 256, kValuePiece), threads, pack, sink);
  }

  // How many values are left out at each end.
  int64_t Trimmed(int64_t count) const {
    const int64_t most = (count - 1) / 2;
    if (options().aggregation == Aggregation::kMedian) {
      return most;
    }
    // A hair below, so that .2 of 15 is 3 in fp32, too.
    return std::min(most, static_cast<int64_t>(std::ceil(static_cast<double>(options().trim) * static_cast<double>(count) - 1e-5)));
  }

  absl::Status Pack(absl::Span<const Update> updates, int64_t first, int64_t size, Slice& slice) const {
    const auto count = static_cast<int64_t>(updates.size());
    slice.units.resize(size * count);
    for (int64_t u = 0; u < count; ++u) {
      TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view values,
                                 updates[u].payload->Slice(kDenseHeaderSize + first * sizeof(float), size * sizeof(float), slice.values));
      if (!AreCanonicalValues(values.data(), size)) {
        return WithExitCode(absl::DataLossError("a stored update has changed since it was checked"), ExitCode::kDamaged);
      }
      for (int64_t i = 0; i < size; ++i) {
        float value;
        std::memcpy(&value, values.data() + i * sizeof(value), sizeof(value));
        slice.units[i * count + u] = std::llrint(static_cast<double>(value) * (kUnits * updates[u].share));
      }
    }
    const int64_t trimmed = Trimmed(count);
    const double divisor = kUnits * static_cast<double>(count - 2 * trimmed);
    slice.packed.resize(size * sizeof(float));
    for (int64_t i = 0; i < size; ++i) {
      int64_t* const units = slice.units.data() + i * count;
      std::sort(units, units + count);
      int64_t sum = 0;
      for (int64_t u = trimmed; u < count - trimmed; ++u) {
        sum += units[u];
      }
      const auto value = static_cast<float>(static_cast<double>(sum) / divisor);
      std::memcpy(slice.packed.data() + i * sizeof(value), &value, sizeof(value));
    }
    return absl::OkStatus();
  }

  absl::Status TakeSums(std::string&) override { return NoPartialSums(); }
  absl::Status MergeSums(absl::string_view, uint32_t, uint64_t) override { return NoPartialSums(); }
  static absl::Status NoPartialSums() {
    return absl::FailedPreconditionError("a trimmed mean or median takes all values at once; it has no partial sums");
  }

  const std::vector<LivePiece> pieces_;
  std::vector<Update> updates_;  // of the open round
};

}  // namespace

std::unique_ptr<Aggregator> MakeOrderedAggregator(const OptimizerOptions& options, const Layout& layout) {
  return std::make_unique<OrderedAggregator>(options, layout);
}

}  // namespace tributary::optim
