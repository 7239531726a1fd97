#include "optim/budget.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "optim/encoder.h"
#include "optim/modes.h"

namespace tributary::optim {
namespace {

uint64_t CeilDivide(uint64_t a, uint64_t b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

// Longest payload of a round in either direction.
uint64_t LongestPayload(const OptimizerOptions& options, const Layout& layout) {
  const PayloadBounds bounds = MaxPayloadBytes(options, layout);
  return std::max(bounds.update, bounds.commit);
}

OptimizerOptions WithK(OptimizerOptions options, uint32_t k) {
  options.k = k;
  options.commit_k = k;
  return options;
}

absl::Status TooSmall(Mode mode, uint64_t bytes, uint64_t least) {
  return absl::InvalidArgumentError(absl::StrCat("mode ", ModeName(mode), " cannot train this model with ", bytes,
                                                 " bytes a step; the least possible is ", least, " bytes a step"));
}

// The largest k whose payloads fit in `round_bytes`; 0: not even 1 does. Bounds grow with k.
uint32_t LargestK(const OptimizerOptions& options, const Layout& layout, uint64_t round_bytes) {
  uint32_t fits = 0;
  uint32_t beyond = kChunkSize + 1;
  while (beyond - fits > 1) {
    const uint32_t k = fits + (beyond - fits) / 2;
    (LongestPayload(WithK(options, k), layout) <= round_bytes ? fits : beyond) = k;
  }
  return fits;
}

std::string ModesWithAChoice() {
  std::string names;
  for (const ModeTraits& mode : kModes) {
    if (mode.budget != BudgetChoice::kNothing) {
      absl::StrAppend(&names, names.empty() ? "" : ", ", mode.name);
    }
  }
  return names;
}

}  // namespace

absl::StatusOr<OptimizerOptions> FitBudget(OptimizerOptions options, const Layout& layout, uint64_t bytes) {
  if (bytes == 0) {
    return absl::InvalidArgumentError("0 bytes a step cannot train anything");
  }
  switch (TraitsOf(options.mode).budget) {
    case BudgetChoice::kK:
      options = WithK(options, LargestK(options, layout, bytes));
      if (options.k == 0) {
        return TooSmall(options.mode, bytes, LongestPayload(WithK(options, 1), layout));
      }
      return options;
    case BudgetChoice::kLocalStepsThenK: {
      const uint64_t wanted = CeilDivide(LongestPayload(WithK(options, kLocalLeastK), layout), bytes);
      options.local_steps = static_cast<uint32_t>(std::clamp<uint64_t>(wanted, 2, kLocalMostSteps));
      options = WithK(options, LargestK(options, layout, options.local_steps * bytes));
      if (options.k == 0) {
        return TooSmall(options.mode, bytes, CeilDivide(LongestPayload(WithK(options, 1), layout), kLocalMostSteps));
      }
      return options;
    }
    case BudgetChoice::kLocalSteps: {
      const uint64_t dense = LongestPayload(options, layout);
      const uint64_t steps = CeilDivide(dense, bytes);
      if (steps > kMaxLocalSteps) {
        return TooSmall(options.mode, bytes, CeilDivide(dense, kMaxLocalSteps));
      }
      options.local_steps = static_cast<uint32_t>(steps);
      return options;
    }
    case BudgetChoice::kNothing: {
      const uint64_t needed = LongestPayload(options, layout);
      if (needed <= bytes) {
        return options;
      }
      return absl::InvalidArgumentError(
          absl::StrCat("mode ", ModeName(options.mode), " leaves nothing for a budget to choose, and may take ", needed,
                       " bytes a step; allowed are ", bytes, ". Remove the budget or change the mode (", ModesWithAChoice(), ")"));
    }
  }
  return options;
}

}  // namespace tributary::optim
