#include "optim/sparse_aggregator.h"

#include "common/status_macros.h"
#include "optim/modes.h"

namespace tributary::optim {

absl::Status SparseAggregator::Decode(absl::string_view payload, SparseValues& values) const {
  TRIBUTARY_RETURN_IF_ERROR(DecodePayload(plan_.update_shape(), payload, values));
  return CheckRange(values);
}

absl::Status SparseAggregator::Check(absl::string_view payload) const {
  SparseValues values;
  return Decode(payload, values);
}

absl::Status SparseAggregator::Sum(absl::string_view payload, uint32_t weight, int sign) {
  TRIBUTARY_RETURN_IF_ERROR(Decode(payload, decoded_));
  SumValues(decoded_, weight, sign);
  return absl::OkStatus();
}

std::string SparseAggregator::Collect() {
  SparseValues values;
  CollectValues(values);
  return EncodePayload(plan_.commit_shape(), values);
}

// Where the worker's local steps have used the learning rate, the replicas' step is the outer one.
float SparseAggregator::CommitRate() const {
  return DirectionOf(options().mode) == Direction::kPseudoGradient ? options().outer_learning_rate : parameters().learning_rate;
}

}  // namespace tributary::optim
