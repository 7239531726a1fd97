#include "optim/replica_state.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "optim/modes.h"

namespace tributary::optim {

int SlotCount(Mode mode) {
  return TraitsOf(mode).slots;
}

absl::StatusOr<ReplicaState> InitialState(const OptimizerOptions& options, const Layout& layout, std::vector<float> theta) {
  if (theta.size() != static_cast<size_t>(layout.size())) {
    return absl::InvalidArgumentError(absl::StrCat("theta has ", theta.size(), " elements, the layout ", layout.size()));
  }
  ReplicaState state;
  state.slots.assign(SlotCount(options.mode), std::vector<float>(theta.size(), 0.0f));
  state.theta = std::move(theta);
  return state;
}

}  // namespace tributary::optim
