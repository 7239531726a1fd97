#include "optim/quantise.h"

namespace tributary::optim {
namespace {

// Level of a magnitude, as an fp64 integer.
inline double Level(double magnitude, double inverse_step, double max_level) {
  return std::min(std::floor(magnitude * inverse_step + 0.5), max_level);
}

template <typename T>
double SquaredError(absl::Span<const T> values, double step, double max_level) {
  const double inverse = 1 / step;
  double sum = 0;
  for (const T value : values) {
    const double magnitude = std::fabs(static_cast<double>(value));
    const double error = magnitude - step * Level(magnitude, inverse, max_level);
    sum += error * error;
  }
  return sum;
}

// The step that fits the levels which `step` gives, in the least squares.
template <typename T>
double Refine(absl::Span<const T> values, double step, double max_level) {
  const double inverse = 1 / step;
  double product = 0;
  double square = 0;
  for (const T value : values) {
    const double magnitude = std::fabs(static_cast<double>(value));
    const double level = Level(magnitude, inverse, max_level);
    product += magnitude * level;
    square += level * level;
  }
  return square > 0 ? product / square : step;
}

template <typename T>
double Choose(uint32_t value_bits, absl::Span<const T> values) {
  if (values.empty()) {
    return 0;
  }
  double sum = 0;
  double max = 0;
  for (const T value : values) {
    const double magnitude = std::fabs(static_cast<double>(value));
    sum += magnitude;
    max = std::max(max, magnitude);
  }
  if (value_bits == 1) {
    return sum / static_cast<double>(values.size());
  }

  const double max_level = MaxLevel(value_bits);
  double best = max / max_level;
  double best_error = SquaredError(values, best, max_level);
  for (int j = 1; j <= kStepHalvings; ++j) {
    const double step = std::ldexp(max / max_level, -j);
    const double error = SquaredError(values, step, max_level);
    if (error >= best_error) {
      continue;
    }
    best = step;
    best_error = error;
  }
  for (int i = 0; i < kStepRefinements; ++i) {
    best = Refine(values, best, max_level);
  }
  return best;
}

}  // namespace

double ChooseStep(uint32_t value_bits, absl::Span<const float> values) {
  return Choose(value_bits, values);
}
double ChooseStep(uint32_t value_bits, absl::Span<const int64_t> values) {
  return Choose(value_bits, values);
}

}  // namespace tributary::optim
