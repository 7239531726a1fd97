// `demo`'s aggregation as published: each component is the mean over the workers that sent it. With Aggregation::kSignVote instead, the
// sum of the signs over all workers.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "optim/integer_runs.h"
#include "optim/sealed_state.h"
#include "optim/sparse_aggregator.h"
#include "optim/sparse_modes.h"

namespace tributary::optim {
namespace {

// Units of the sums: fp32 values become integers, rounded once to nearest even, so that any order of arrival sums to the same.
constexpr int kFractionBits = 44;
constexpr double kUnits = static_cast<double>(int64_t{1} << kFractionBits);
// Magnitude below which 2^12 values sum to less than 2^63 units.
constexpr float kValueBound = 128.0f;
// What one sender adds to a sum at most.
constexpr int64_t kMostUnits = (int64_t{1} << (kFractionBits + 7)) - 1;
static_assert(kMostUnits <= INT64_MAX / kMaxWorkers);
// Commits hold 24-bit integers: their largest.
constexpr int32_t kMaxCommitValue = (1 << 23) - 1;

class SenderMeanAggregator final : public SparseAggregator {
 public:
  SenderMeanAggregator(const OptimizerOptions& options, const Layout& layout)
      : SparseAggregator(options, layout), sums_(plan().places(), 0), senders_(plan().places(), 0) {}

 private:
  static constexpr absl::string_view kKind = "aggregator demo";

  std::string SaveSum() const override { return SealState(kKind, layout(), ""); }
  absl::Status RestoreSum(absl::string_view state) override { return OpenState(kKind, layout(), state).status(); }
  absl::Status CheckRange(const SparseValues& values) const override;
  void Open() override;
  void SumValues(const SparseValues& values, uint32_t weight, double share, int sign) override;
  void CollectValues(SparseValues& commit) override;
  absl::Status TakeSums(std::string& out) override;
  absl::Status MergeSums(absl::string_view sums, uint32_t added, uint64_t weights) override;

  // [places], by segment, chunk and component.
  std::vector<int64_t> sums_;
  std::vector<uint16_t> senders_;
};

absl::Status SenderMeanAggregator::CheckRange(const SparseValues& values) const {
  for (size_t i = 0; i < values.value.size(); ++i) {
    const auto value = std::bit_cast<float>(values.value[i]);
    if (!(std::fabs(value) < kValueBound)) {
      return absl::InvalidArgumentError(
          absl::StrCat("entry ", i, ": component ", value, ", allowed: magnitudes below ", kValueBound, "; lower the learning rate"));
    }
  }
  for (size_t number = 0; number < values.scales.size(); ++number) {
    if (values.scales[number] != 0 && values.scales[number] != 1) {
      return absl::InvalidArgumentError(absl::StrCat("segment ", number, ": scale ", values.scales[number], " of fp32 values; allowed: 1"));
    }
  }
  return absl::OkStatus();
}

void SenderMeanAggregator::Open() {
  std::fill(sums_.begin(), sums_.end(), 0);
  std::fill(senders_.begin(), senders_.end(), 0);
}

void SenderMeanAggregator::SumValues(const SparseValues& values, uint32_t, double share, int sign) {
  const double units = kUnits * share;
  for (const Segment& segment : plan().segments()) {
    for (int64_t chunk = 0; chunk < segment.chunk_count; ++chunk) {
      const int64_t first = segment.first_place + chunk * segment.chunk_length();
      const uint32_t end = values.chunk_begin[segment.first_chunk + chunk + 1];
      for (uint32_t i = values.chunk_begin[segment.first_chunk + chunk]; i < end; ++i) {
        const int64_t place = first + values.index[i];
        sums_[place] += sign * std::llrint(static_cast<double>(std::bit_cast<float>(values.value[i])) * units);
        senders_[place] = static_cast<uint16_t>(senders_[place] + sign);
      }
    }
  }
}

void SenderMeanAggregator::CollectValues(SparseValues& commit) {
  commit.chunk_begin.push_back(0);
  for (const Segment& segment : plan().segments()) {
    const int64_t end = segment.first_place + segment.chunk_count * segment.chunk_length();
    // A vote is one of all that there are: who alone sends a component has not won it.
    const bool votes = options().aggregation == Aggregation::kSignVote;
    const auto mean = [&](int64_t place) { return static_cast<double>(sums_[place]) / (votes ? added() : senders_[place]); };
    double max = 0;
    for (int64_t place = segment.first_place; place < end; ++place) {
      if (senders_[place] > 0) {
        max = std::max(max, std::fabs(mean(place)));
      }
    }
    // The scale as replicas will read it, and the step in units of the sums that it stands for.
    const auto scale = static_cast<float>(std::ldexp(max / kMaxCommitValue, -kFractionBits));
    const double step = std::ldexp(static_cast<double>(scale), kFractionBits);
    const size_t before = commit.index.size();
    for (int64_t first = segment.first_place; first < end; first += segment.chunk_length()) {
      for (int64_t i = 0; i < segment.chunk_length() && step > 0; ++i) {
        if (senders_[first + i] == 0) {
          continue;
        }
        const int64_t q = std::clamp<int64_t>(std::llrint(mean(first + i) / step), -kMaxCommitValue, kMaxCommitValue);
        if (q == 0) {
          continue;
        }
        commit.index.push_back(static_cast<uint16_t>(i));
        commit.value.push_back(static_cast<int32_t>(q));
      }
      commit.chunk_begin.push_back(static_cast<uint32_t>(commit.index.size()));
    }
    commit.scales.push_back(commit.index.size() > before ? scale : 0.0f);
  }
}

absl::Status SenderMeanAggregator::TakeSums(std::string& out) {
  AppendRuns(absl::MakeConstSpan(senders_), out);
  AppendRuns(absl::MakeConstSpan(sums_), out);
  return absl::OkStatus();
}

absl::Status SenderMeanAggregator::MergeSums(absl::string_view sums, uint32_t added, uint64_t) {
  std::vector<uint16_t> more_senders(senders_.size());
  std::vector<int64_t> more(sums_.size());
  TRIBUTARY_RETURN_IF_ERROR(ReadRuns(sums, added, absl::MakeSpan(more_senders)));
  TRIBUTARY_RETURN_IF_ERROR(ReadRuns(sums, added * kMostUnits, absl::MakeSpan(more)));
  if (!sums.empty()) {
    return absl::InvalidArgumentError("longer than its places");
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckSenders(more_senders, added));
  for (size_t i = 0; i < sums_.size(); ++i) {
    if (std::abs(more[i]) > more_senders[i] * kMostUnits) {
      return absl::InvalidArgumentError(absl::StrCat("place ", i, " is more than its ", more_senders[i], " senders can have sent"));
    }
  }
  for (size_t i = 0; i < sums_.size(); ++i) {
    senders_[i] = static_cast<uint16_t>(senders_[i] + more_senders[i]);
    sums_[i] += more[i];
  }
  return absl::OkStatus();
}

}  // namespace

std::unique_ptr<Aggregator> MakeSenderMeanAggregator(const OptimizerOptions& options, const Layout& layout) {
  return std::make_unique<SenderMeanAggregator>(options, layout);
}

}  // namespace tributary::optim
