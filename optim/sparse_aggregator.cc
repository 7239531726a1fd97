#include "optim/sparse_aggregator.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "optim/sparse_modes.h"

namespace tributary::optim {

absl::Status SparseAggregator::Decode(absl::string_view payload, SparseValues& values) const {
  TRIBUTARY_RETURN_IF_ERROR(DecodePayload(plan_.update_shape(), payload, values));
  return CheckRange(values);
}

absl::Status SparseAggregator::Check(absl::string_view payload) const {
  SparseValues values;
  return Decode(payload, values);
}

absl::Status SparseAggregator::BeginRound(const RoundParameters& parameters, uint32_t members) {
  if (members < 1 || members > kMaxWorkers) {
    return absl::InvalidArgumentError(absl::StrCat("a round for ", members, " updates; allowed: 1 to ", kMaxWorkers));
  }
  if (!std::isfinite(parameters.learning_rate) || parameters.learning_rate < 0) {
    return absl::InvalidArgumentError(absl::StrCat("round ", parameters.round, ": learning rate ", parameters.learning_rate));
  }
  if (open_ && added_ > 0) {
    return absl::FailedPreconditionError(absl::StrCat("round ", parameters_.round, " is open and holds ", added_, " updates"));
  }
  open_ = true;
  parameters_ = parameters;
  members_ = members;
  added_ = 0;
  weights_ = 0;
  return absl::OkStatus();
}

absl::Status SparseAggregator::Add(absl::string_view payload, uint32_t weight) {
  if (!open_) {
    return absl::FailedPreconditionError("no round is open");
  }
  if (added_ == members_) {
    return absl::FailedPreconditionError(absl::StrCat("round ", parameters_.round, " has all its ", members_, " updates"));
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckWeight(options_, weight));
  TRIBUTARY_RETURN_IF_ERROR(Decode(payload, decoded_));
  Sum(decoded_, static_cast<double>(weight) / kMaxWeight, 1);
  ++added_;
  weights_ += weight;
  return absl::OkStatus();
}

absl::Status SparseAggregator::Remove(absl::string_view payload, uint32_t weight) {
  if (!open_ || added_ == 0) {
    return absl::FailedPreconditionError("no round is open that holds an update");
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckWeight(options_, weight));
  TRIBUTARY_RETURN_IF_ERROR(Decode(payload, decoded_));
  Sum(decoded_, static_cast<double>(weight) / kMaxWeight, -1);
  --added_;
  weights_ -= weight;
  return absl::OkStatus();
}

absl::StatusOr<Commit> SparseAggregator::Finish() {
  if (!open_) {
    return absl::FailedPreconditionError("no round is open");
  }
  open_ = false;
  Commit commit;
  commit.round = parameters_.round;
  commit.learning_rate = options_.mode == Mode::kLocal ? options_.outer_learning_rate : parameters_.learning_rate;
  commit.included = added_;
  if (added_ > 0) {
    SparseValues values;
    Collect(values);
    commit.payload = EncodePayload(plan_.commit_shape(), values);
  }
  return commit;
}

std::unique_ptr<Aggregator> MakeSparseAggregator(const OptimizerOptions& options, const Layout& layout) {
  return options.mode == Mode::kDemo ? MakeSenderMeanAggregator(options, layout) : MakeResidualAggregator(options, layout);
}

}  // namespace tributary::optim
