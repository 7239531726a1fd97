// What holds for every mode. The arithmetic is in sparse_apply.cc and dense_apply.cc.
#include "optim/apply.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "optim/modes.h"

namespace tributary::optim {
namespace {

absl::Status CheckNext(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const ReplicaState& state) {
  if (state.round + 1 != commit.round) {
    return absl::FailedPreconditionError(absl::StrCat("commit ", commit.round, " does not follow the state of round ", state.round));
  }
  const auto size = static_cast<size_t>(layout.size());
  if (state.theta.size() != size || state.slots.size() != static_cast<size_t>(SlotCount(options.mode))) {
    return absl::InvalidArgumentError(absl::StrCat("the state has ", state.theta.size(), " parameters and ", state.slots.size(),
                                                   " slots, the layout ", size, " and the mode ", SlotCount(options.mode)));
  }
  for (const auto& slot : state.slots) {
    if (slot.size() != size) {
      return absl::InvalidArgumentError(absl::StrCat("a slot has ", slot.size(), " elements, the layout ", size));
    }
  }
  if (!std::isfinite(commit.learning_rate) || commit.learning_rate < 0) {
    return absl::InvalidArgumentError(absl::StrCat("commit ", commit.round, ": learning rate ", commit.learning_rate));
  }
  if (commit.included == 0 && commit.payload_bytes > 0) {
    return absl::InvalidArgumentError(absl::StrCat("commit ", commit.round, " includes nothing, yet has a payload"));
  }
  return absl::OkStatus();
}

absl::Status ApplyPayload(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                          ReplicaState& state, int threads) {
  TRIBUTARY_RETURN_IF_ERROR(CheckNext(options, layout, commit, state));
  if (commit.included > 0) {
    TRIBUTARY_RETURN_IF_ERROR(
        Annotate(TraitsOf(options.mode).apply(options, layout, commit, payload, state, threads), absl::StrCat("commit ", commit.round)));
  }
  state.round = commit.round;
  return absl::OkStatus();
}

}  // namespace

absl::Status Apply(const OptimizerOptions& options, const Layout& layout, const Commit& commit, ReplicaState& state, int threads) {
  return ApplyPayload(options, layout, HeadOf(commit), BorrowedBytes(commit.payload), state, threads);
}

absl::Status ApplyRecord(const OptimizerOptions& options, const Layout& layout, const StoredBytes& record, ReplicaState& state,
                         int threads) {
  TRIBUTARY_ASSIGN_OR_RETURN(const CommitHead head, DecodeCommitHead(record));
  const SharedBytes unowned(SharedBytes(), &record);
  return ApplyPayload(options, layout, head, *PartOf(unowned, kCommitHeadBytes, head.payload_bytes), state, threads);
}

}  // namespace tributary::optim
