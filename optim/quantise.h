// Small signed levels for components: value ~ level * step, with 0 for what is below half a step.
//
// The step is chosen for a whole segment. What a level does not represent, and what fell to 0, stays in the residual (error feedback).
#ifndef TRIBUTARY_OPTIM_QUANTISE_H_
#define TRIBUTARY_OPTIM_QUANTISE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "absl/types/span.h"

namespace tributary::optim {

// Levels of `value_bits` are +-1..+-MaxLevel.
constexpr int32_t MaxLevel(uint32_t value_bits) {
  return int32_t{1} << (value_bits - 1);
}

// Step for non-zero `values`; > 0, or 0 if there are none.
//  1 bit: the mean magnitude (as SparseLoCo, arXiv 2508.15706).
//  More: the least squared error among max / MaxLevel * 2^-j, j = 0..kStepHalvings, then kStepRefinements of Lloyd's iterations
//  (IEEE Trans. Inf. Theory 28, 1982): the largest values of a segment may be cut so that the many are resolved.
// Sums are in fp64, in the order given, of single operations: equal values give equal steps on every machine.
double ChooseStep(uint32_t value_bits, absl::Span<const float> values);
double ChooseStep(uint32_t value_bits, absl::Span<const int64_t> values);

inline constexpr int kStepHalvings = 6;
inline constexpr int kStepRefinements = 3;

// Level nearest to |value| / step, half rounded up, with the sign of `value`. step > 0.
inline int32_t LevelOf(double value, double step, int32_t max_level) {
  const double level = std::min(std::floor(std::fabs(value) / step + 0.5), static_cast<double>(max_level));
  return static_cast<int32_t>(value < 0 ? -level : level);
}

// Likewise in integers. step >= 1; |value| < 2^62.
inline int32_t LevelOf(int64_t value, int64_t step, int32_t max_level) {
  const int64_t level = std::min<int64_t>(((value < 0 ? -value : value) + step / 2) / step, max_level);
  return static_cast<int32_t>(value < 0 ? -level : level);
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_QUANTISE_H_
