#include "worker/state_keeper.h"

#include <utility>

#include "common/status_macros.h"

namespace tributary::worker {
namespace {

// Before the first copy was measured, a disk is taken to write this many bytes a second, and a copy to hold as many numbers a parameter as
// any mode's: residual, two moments and the pending update.
constexpr double kAssumedRate = 100e6;
constexpr double kAssumedNumbers = 4;

}  // namespace

StateKeeper::StateKeeper(const StateOwner& owner, v1::Persist persist, FileStore* store, const Clock* clock, uint64_t max_logged_payload)
    : owner_(owner),
      persist_(persist),
      store_(store),
      clock_(clock),
      log_(owner, store, max_logged_payload),
      budget_(clock->Now(), absl::Seconds(static_cast<double>(owner.layout->size()) * kAssumedNumbers * sizeof(float) / kAssumedRate)) {}

absl::StatusOr<StateKeeper::Kept> StateKeeper::Open() {
  Kept kept;
  TRIBUTARY_ASSIGN_OR_RETURN(kept.sent, log_.Open());
  kept.copy = ReadSavedState(owner_, *store_);
  if (!kept.copy.ok() && !absl::IsNotFound(kept.copy.status()) && !absl::IsDataLoss(kept.copy.status())) {
    return kept.copy.status();
  }
  return kept;
}

absl::Status StateKeeper::Keep(uint64_t round, const std::optional<PendingUpdate>& update, const std::function<SavedState()>& whole) {
  if (persist_ == v1::EVERY_ROUND || budget_.Due(round, clock_->Now())) {
    return KeepWhole(whole);
  }
  behind_ = true;
  return update.has_value() ? log_.Append(*update) : absl::OkStatus();
}

absl::Status StateKeeper::KeepWhole(const std::function<SavedState()>& whole) {
  const absl::Time start = clock_->Now();
  const SavedState state = whole();
  TRIBUTARY_RETURN_IF_ERROR(WriteSavedState(owner_, state, *store_));
  // Only now: a crash in between leaves a log that seems to be newer, and nothing of this round was sent.
  TRIBUTARY_RETURN_IF_ERROR(log_.Clear());
  const absl::Time end = clock_->Now();
  budget_.Copied(state.round, end, end - start);
  behind_ = false;
  return absl::OkStatus();
}

}  // namespace tributary::worker
