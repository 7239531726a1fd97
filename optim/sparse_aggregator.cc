#include "optim/sparse_aggregator.h"

#include <bit>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/assert.h"
#include "common/status_macros.h"
#include "optim/modes.h"

namespace tributary::optim {
namespace {

// Of the components, and so of the parameters: the DCT is orthonormal. In fp64 and one order, the same on every machine.
double NormOf(const ChunkPlan& plan, const SparseValues& values) {
  const bool floats = plan.update_shape().value_bits == 32;
  double squares = 0;
  for (size_t number = 0; number < plan.segments().size(); ++number) {
    const Segment& segment = plan.segments()[number];
    const uint32_t end = values.chunk_begin[segment.first_chunk + segment.chunk_count];
    double sum = 0;
    for (uint32_t i = values.chunk_begin[segment.first_chunk]; i < end; ++i) {
      const double value = floats ? double{std::bit_cast<float>(values.value[i])} : double{static_cast<float>(values.value[i])};
      sum += value * value;
    }
    const double scale = values.scales[number];
    squares += scale * scale * sum;
  }
  return std::sqrt(squares);
}

// Every value becomes +-1.
void KeepSigns(bool floats, SparseValues& values) {
  for (int32_t& value : values.value) {
    value = floats ? std::bit_cast<int32_t>(std::copysign(1.0f, std::bit_cast<float>(value))) : value > 0 ? 1 : -1;
  }
  for (float& scale : values.scales) {
    scale = scale > 0 ? 1.0f : 0.0f;
  }
}

}  // namespace

absl::StatusOr<double> SparseAggregator::Decode(absl::string_view payload, SparseValues& values) const {
  TRIBUTARY_RETURN_IF_ERROR(DecodePayload(plan_.update_shape(), payload, values));
  TRIBUTARY_RETURN_IF_ERROR(CheckRange(values));
  if (options().aggregation == Aggregation::kSignVote) {
    KeepSigns(plan_.update_shape().value_bits == 32, values);
  }
  return bounds_norms() ? NormOf(plan_, values) : 0.0;
}

absl::StatusOr<double> SparseAggregator::Measure(absl::string_view payload) const {
  SparseValues values;
  return Decode(payload, values);
}

absl::StatusOr<double> SparseAggregator::Sum(absl::string_view payload, uint32_t weight, int sign) {
  TRIBUTARY_ASSIGN_OR_RETURN(const double norm, Decode(payload, decoded_));
  TRIBUTARY_ASSIGN_OR_RETURN(const double share, BoundedShare(norm));
  SumValues(decoded_, weight, share, sign);
  return norm;
}

void SparseAggregator::VisitVotes(absl::string_view payload, Agreement::Vote vote) const {
  SparseValues values;
  TRIBUTARY_ASSERT(DecodePayload(plan_.update_shape(), payload, values).ok(), "an update that was found valid");
  const bool floats = plan_.update_shape().value_bits == 32;
  for (const Segment& segment : plan_.segments()) {
    for (int64_t chunk = 0; chunk < segment.chunk_count; ++chunk) {
      const int64_t first = segment.first_place + chunk * segment.chunk_length();
      const uint32_t end = values.chunk_begin[segment.first_chunk + chunk + 1];
      for (uint32_t i = values.chunk_begin[segment.first_chunk + chunk]; i < end; ++i) {
        const bool negative = floats ? std::bit_cast<float>(values.value[i]) < 0 : values.value[i] < 0;
        vote(first + values.index[i], negative ? -1 : 1);
      }
    }
  }
}

absl::Status SparseAggregator::CheckSenders(absl::Span<const uint16_t> senders, uint32_t added) const {
  for (size_t number = 0; number < plan_.segments().size(); ++number) {
    const Segment& segment = plan_.segments()[number];
    const uint64_t most = uint64_t{added} * plan_.update_shape().segments[number].max_kept;
    for (int64_t chunk = 0; chunk < segment.chunk_count; ++chunk) {
      const auto places = senders.subspan(segment.first_place + chunk * segment.chunk_length(), segment.chunk_length());
      const uint64_t sent = std::accumulate(places.begin(), places.end(), uint64_t{0});
      if (sent > most) {
        return absl::InvalidArgumentError(
            absl::StrCat("chunk ", segment.first_chunk + chunk, ": ", sent, " components of ", added, " updates; allowed: up to ", most));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status SparseAggregator::Collect(int, absl::FunctionRef<absl::Status(uint64_t bytes)> begin, ByteSink sink) {
  SparseValues values;
  CollectValues(values);
  const std::string payload = EncodePayload(plan_.commit_shape(), values);
  TRIBUTARY_RETURN_IF_ERROR(begin(payload.size()));
  return sink(payload);
}

// Where the worker's local steps have used the learning rate, the replicas' step is the outer one.
float SparseAggregator::CommitRate() const {
  return DirectionOf(options().mode) == Direction::kPseudoGradient ? options().outer_learning_rate : parameters().learning_rate;
}

}  // namespace tributary::optim
