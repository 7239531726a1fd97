// Aggregation of `distro` and `local`: an integer sum that is also the server-side residual, in place. sparse_modes.h has the equations and
// the ranges.
//
// The sum does not distinguish the residual from what the open round added, so that memory stays at one integer a parameter
// (and with commit_k 0 a 16-bit count).
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/status_macros.h"
#include "optim/integer_runs.h"
#include "optim/quantise.h"
#include "optim/sealed_state.h"
#include "optim/select.h"
#include "optim/simd.h"
#include "optim/sparse_aggregator.h"
#include "optim/sparse_modes.h"

namespace tributary::optim {
namespace {

// What one mode's sums are made of.
// Units per root mean square of a segment's update, Rule::kSign with normalize.
struct NormalisedUnits {
  using Integer = int32_t;
  static constexpr bool kNormalised = true;
  static constexpr int kFractionBits = 24;
  static constexpr int kPeakBits = 6;  // one place counts at most 2^6 times the root mean square
  static constexpr Integer kLimit = Integer{1} << (kFractionBits + kPeakBits);
};
// The same where weights may be small shares of the largest.
struct WeighedUnits {
  using Integer = int64_t;
  static constexpr bool kNormalised = true;
  static constexpr int kFractionBits = 55;
  static constexpr int kPeakBits = 6;
  static constexpr Integer kLimit = Integer{1} << (kFractionBits + kPeakBits);
};
// Units per 1, otherwise.
struct AbsoluteUnits {
  using Integer = int64_t;
  static constexpr bool kNormalised = false;
  static constexpr int kFractionBits = 52;
  static constexpr int kPeakBits = 9;  // magnitudes below 2^9 are accepted
  static constexpr Integer kLimit = Integer{1} << (kFractionBits + kPeakBits);
};

TRIBUTARY_SIMD_CLONES void Clamp(int64_t n, int32_t limit, int32_t* z) {
  for (int64_t i = 0; i < n; ++i) {
    z[i] = z[i] > limit ? limit : z[i] < -limit ? -limit : z[i];
  }
}

TRIBUTARY_SIMD_CLONES void Clamp(int64_t n, int64_t limit, int64_t* z) {
  for (int64_t i = 0; i < n; ++i) {
    z[i] = z[i] > limit ? limit : z[i] < -limit ? -limit : z[i];
  }
}

// Sums of squared levels of each segment.
std::vector<uint64_t> SquaredLevels(const ChunkPlan& plan, const SparseValues& values) {
  std::vector<uint64_t> squares;
  for (const Segment& segment : plan.segments()) {
    uint64_t sum = 0;
    const uint32_t end = values.chunk_begin[segment.first_chunk + segment.chunk_count];
    for (uint32_t i = values.chunk_begin[segment.first_chunk]; i < end; ++i) {
      sum += static_cast<uint64_t>(int64_t{values.value[i]} * values.value[i]);
    }
    squares.push_back(sum);
  }
  return squares;
}

template <typename Units>
class ResidualAggregator final : public SparseAggregator {
  using Integer = typename Units::Integer;

 public:
  ResidualAggregator(const OptimizerOptions& options, const Layout& layout) : SparseAggregator(options, layout), z_(plan().places(), 0) {
    if (options.commit_k == 0) {
      senders_.assign(z_.size(), 0);
    }
  }

 private:
  std::string Kind() const {
    return absl::StrCat("aggregator ", ModeName(options().mode), " of ", sizeof(Integer), "-byte sums of ", z_.size(),
                        options().domain == Domain::kDct ? " DCT components" : " parameters");
  }
  std::string SaveSum() const override;
  absl::Status RestoreSum(absl::string_view state) override;
  absl::Status CheckRange(const SparseValues& values) const override;
  void Open() override { std::fill(senders_.begin(), senders_.end(), 0); }
  void SumValues(const SparseValues& values, uint32_t weight, double share, int sign) override;
  void CollectValues(SparseValues& commit) override;
  bool HoldsResidual() const override { return holds_residual_; }
  absl::Status TakeSums(std::string& out) override;
  absl::Status MergeSums(absl::string_view sums, uint32_t added, uint64_t weights) override;

  // What updates of so much weight in all add to a place at most. Rounded down: the sum over updates is at most that of their sum.
  int64_t MostOf(uint64_t weights) const {
    return static_cast<int64_t>(static_cast<unsigned __int128>(Units::kLimit / members()) * weights / kMaxWeight);
  }
  // What a level 1 of each segment adds to the sum, of `share` of an update of weight `weight`.
  std::vector<Integer> LevelUnits(const SparseValues& values, uint32_t weight, double share) const;
  // Places of a chunk that the commit may hold, ascending.
  void SelectPlaces(const Segment& segment, size_t number, int64_t first);
  // Moves the segment's share of the commit from z_ to `commit`.
  void CollectSegment(size_t number, SparseValues& commit);

  bool weighed() const { return options().weighting == Weighting::kSamples; }

  // Whether z_ may hold more than the open round.
  bool holds_residual_ = false;
  // Added weight that commits are scaled by: this round's or, in weighed runs, what is left of an earlier round's.
  double reference_weight_ = 0;
  std::vector<Integer> z_;         // [places], by segment, chunk and component
  std::vector<uint16_t> senders_;  // [places] if commit_k is 0, else empty: updates of the open round that hold the place

  SelectWorkspace<std::make_unsigned_t<Integer>> select_;
  std::vector<uint16_t> selected_;
};

template <typename Units>
absl::Status ResidualAggregator<Units>::CheckRange(const SparseValues& values) const {
  if (Units::kNormalised || options().normalize) {
    return absl::OkStatus();
  }
  const double max_level = MaxLevel(plan().update_shape().value_bits);
  for (size_t number = 0; number < values.scales.size(); ++number) {
    if (values.scales[number] * max_level < std::ldexp(1.0, Units::kPeakBits)) {
      continue;
    }
    return absl::InvalidArgumentError(absl::StrCat("segment ", number, ": values of up to ", values.scales[number] * max_level,
                                                   "; allowed: below ", std::ldexp(1.0, Units::kPeakBits)));
  }
  return absl::OkStatus();
}

template <typename Units>
std::vector<typename Units::Integer> ResidualAggregator<Units>::LevelUnits(const SparseValues& values, uint32_t weight,
                                                                           double share) const {
  // fp64, single operations in one order: the same on every machine.
  const double unit = std::ldexp(1.0, Units::kFractionBits) / members() * (static_cast<double>(weight) / kMaxWeight) * share;
  // In integers, so that no rounding lets an update pass what MergeSums allows.
  const auto limit = static_cast<Integer>(MostOf(weight) / MaxLevel(plan().update_shape().value_bits));
  const std::vector<uint64_t> squares = options().normalize ? SquaredLevels(plan(), values) : std::vector<uint64_t>();
  double norm = 1;
  if (!Units::kNormalised && options().normalize) {
    double sum = 0;
    for (size_t number = 0; number < squares.size(); ++number) {
      const double scale = values.scales[number];
      sum += scale * scale * static_cast<double>(squares[number]);
    }
    norm = std::sqrt(sum);
  }
  std::vector<Integer> level_units;
  for (size_t number = 0; number < values.scales.size(); ++number) {
    double level = 0;
    if (values.scales[number] > 0) {
      if constexpr (Units::kNormalised) {
        const SegmentShape& shape = plan().update_shape().segments[number];
        const double kept = static_cast<double>(shape.chunk_count) * shape.max_kept;
        level = std::sqrt(kept / static_cast<double>(squares[number]));
      } else {
        level = values.scales[number] / norm;
      }
    }
    const double units = std::floor(level * unit + 0.5);
    level_units.push_back(units < static_cast<double>(limit) ? static_cast<Integer>(units) : limit);
  }
  return level_units;
}

template <typename Units>
void ResidualAggregator<Units>::SumValues(const SparseValues& values, uint32_t weight, double share, int sign) {
  const std::vector<Integer> level_units = LevelUnits(values, weight, share);
  for (size_t number = 0; number < level_units.size(); ++number) {
    const Segment& segment = plan().segments()[number];
    const Integer units = sign * level_units[number];
    Integer* z = z_.data() + segment.first_place;
    for (int64_t chunk = segment.first_chunk; chunk < segment.first_chunk + segment.chunk_count; ++chunk, z += segment.chunk_length()) {
      for (uint32_t i = values.chunk_begin[chunk]; i < values.chunk_begin[chunk + 1]; ++i) {
        z[values.index[i]] += units * values.value[i];
      }
    }
  }
  if (senders_.empty()) {
    return;
  }
  for (const Segment& segment : plan().segments()) {
    for (int64_t chunk = 0; chunk < segment.chunk_count; ++chunk) {
      const int64_t first = segment.first_place + chunk * segment.chunk_length();
      const uint32_t end = values.chunk_begin[segment.first_chunk + chunk + 1];
      for (uint32_t i = values.chunk_begin[segment.first_chunk + chunk]; i < end; ++i) {
        uint16_t& senders = senders_[first + values.index[i]];
        senders = static_cast<uint16_t>(senders + sign);
      }
    }
  }
}

template <typename Units>
void ResidualAggregator<Units>::SelectPlaces(const Segment& segment, size_t number, int64_t first) {
  const auto chunk = absl::MakeConstSpan(z_).subspan(first, segment.chunk_length());
  if (senders_.empty()) {
    SelectLargest(chunk, static_cast<int>(plan().commit_shape().segments[number].max_kept), select_, selected_);
    return;
  }
  selected_.clear();
  for (int64_t i = 0; i < segment.chunk_length(); ++i) {
    const int64_t place = first + i;
    if (senders_[place] != 0 && z_[place] != 0) {
      selected_.push_back(static_cast<uint16_t>(i));
    }
  }
}

template <typename Units>
void ResidualAggregator<Units>::CollectSegment(size_t number, SparseValues& commit) {
  const Segment& segment = plan().segments()[number];
  const uint32_t bits = plan().commit_shape().value_bits;
  std::vector<uint16_t> index;
  std::vector<int64_t> sums;
  std::vector<uint32_t> begin = {0};
  const auto first_of = [&](int64_t chunk) { return segment.first_place + chunk * segment.chunk_length(); };
  for (int64_t chunk = 0; chunk < segment.chunk_count; ++chunk) {
    SelectPlaces(segment, number, first_of(chunk));
    for (const uint16_t i : selected_) {
      index.push_back(i);
      sums.push_back(z_[first_of(chunk) + i]);
    }
    begin.push_back(static_cast<uint32_t>(index.size()));
  }

  const auto step = static_cast<int64_t>(std::max(1.0, std::floor(ChooseStep(bits, absl::MakeConstSpan(sums)) + 0.5)));
  const size_t before = commit.index.size();
  for (int64_t chunk = 0; chunk < segment.chunk_count; ++chunk) {
    Integer* z = z_.data() + first_of(chunk);
    for (uint32_t i = begin[chunk]; i < begin[chunk + 1]; ++i) {
      const int32_t level = LevelOf(sums[i], step, MaxLevel(bits));
      if (level == 0) {
        continue;
      }
      commit.index.push_back(index[i]);
      commit.value.push_back(level);
      z[index[i]] = static_cast<Integer>(sums[i] - level * step);
    }
    Clamp(segment.chunk_length(), Units::kLimit - 1, z);
    commit.chunk_begin.push_back(static_cast<uint32_t>(commit.index.size()));
  }
  const double scale = std::ldexp(static_cast<double>(step), -Units::kFractionBits) * members() / reference_weight_;
  commit.scales.push_back(commit.index.size() > before ? static_cast<float>(scale) : 0.0f);
}

template <typename Units>
void ResidualAggregator<Units>::CollectValues(SparseValues& commit) {
  holds_residual_ = true;
  commit.chunk_begin.push_back(0);
  // The residual carries what earlier rounds weighed: a round that only light sites reached must not blow it up to its own measure. Of a
  // weight that stays away, a tenth is forgotten every round.
  reference_weight_ = weighed() ? std::max<double>(added_weight(), 0.9 * reference_weight_) : added_weight();
  for (size_t number = 0; number < plan().segments().size(); ++number) {
    CollectSegment(number, commit);
  }
}

template <typename Units>
std::string ResidualAggregator<Units>::SaveSum() const {
  std::string body;
  if (weighed()) {
    AppendLittleEndian(std::bit_cast<uint64_t>(reference_weight_), body);
  }
  AppendRuns(absl::MakeConstSpan(z_), body);
  return SealState(Kind(), layout(), body);
}

template <typename Units>
absl::Status ResidualAggregator<Units>::RestoreSum(absl::string_view state) {
  TRIBUTARY_ASSIGN_OR_RETURN(absl::string_view body, OpenState(Kind(), layout(), state));
  double reference_weight = 0;
  if (weighed()) {
    ByteReader reader(body);
    uint64_t bits = 0;
    if (reader.Read(bits)) {
      reference_weight = std::bit_cast<double>(bits);
    }
    if (body.size() < sizeof bits || !(reference_weight >= 0 && reference_weight <= kMaxWorkers)) {
      return absl::DataLossError(absl::StrCat("saved ", Kind(), " state: its weight is out of range"));
    }
    body = reader.rest();
  }
  std::vector<Integer> z(z_.size(), 0);
  const absl::Status read = ReadRuns(body, Units::kLimit - 1, absl::MakeSpan(z));
  if (!read.ok()) {
    return absl::DataLossError(absl::StrCat("saved ", Kind(), " state: ", read.message()));
  }
  if (!body.empty()) {
    return absl::DataLossError(absl::StrCat("saved ", Kind(), " state: longer than its places"));
  }
  reference_weight_ = reference_weight;
  z_ = std::move(z);
  holds_residual_ = std::any_of(z_.begin(), z_.end(), [](Integer value) { return value != 0; });
  return absl::OkStatus();
}

template <typename Units>
absl::Status ResidualAggregator<Units>::TakeSums(std::string& out) {
  AppendRuns(absl::MakeConstSpan(z_), out);
  AppendRuns(absl::MakeConstSpan(senders_), out);
  std::fill(z_.begin(), z_.end(), 0);
  return absl::OkStatus();
}

template <typename Units>
absl::Status ResidualAggregator<Units>::MergeSums(absl::string_view sums, uint32_t added, uint64_t weights) {
  std::vector<Integer> more(z_.size());
  TRIBUTARY_RETURN_IF_ERROR(ReadRuns(sums, MostOf(weights), absl::MakeSpan(more)));
  std::vector<uint16_t> more_senders(senders_.size());
  TRIBUTARY_RETURN_IF_ERROR(ReadRuns(sums, added, absl::MakeSpan(more_senders)));
  if (!sums.empty()) {
    return absl::InvalidArgumentError("longer than its places");
  }
  if (!more_senders.empty()) {
    TRIBUTARY_RETURN_IF_ERROR(CheckSenders(more_senders, added));
  }
  for (size_t i = 0; i < more_senders.size(); ++i) {
    if (more[i] != 0 && more_senders[i] == 0) {
      return absl::InvalidArgumentError(absl::StrCat("place ", i, " is a sum of nothing"));
    }
  }
  for (size_t i = 0; i < z_.size(); ++i) {
    z_[i] += more[i];
  }
  for (size_t i = 0; i < more_senders.size(); ++i) {
    senders_[i] = static_cast<uint16_t>(senders_[i] + more_senders[i]);
  }
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<Aggregator> MakeResidualAggregator(const OptimizerOptions& options, const Layout& layout) {
  if (options.rule == Rule::kSign && options.normalize) {
    if (options.weighting == Weighting::kSamples) {
      return std::make_unique<ResidualAggregator<WeighedUnits>>(options, layout);
    }
    return std::make_unique<ResidualAggregator<NormalisedUnits>>(options, layout);
  }
  return std::make_unique<ResidualAggregator<AbsoluteUnits>>(options, layout);
}

}  // namespace tributary::optim
