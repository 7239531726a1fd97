#include "worker/models/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tributary::worker {

std::vector<double> NoiseSchedule(int64_t steps) {
  constexpr double kOffset = 0.008;
  constexpr double kMostTaken = 0.999;
  const auto f = [&](int64_t t) {
    const double angle = (static_cast<double>(t) / static_cast<double>(steps) + kOffset) / (1 + kOffset) * std::numbers::pi / 2;
    return std::cos(angle) * std::cos(angle);
  };
  std::vector<double> left;
  left.reserve(static_cast<size_t>(steps));
  double product = 1;
  for (int64_t t = 0; t < steps; ++t) {
    product *= 1 - std::min(kMostTaken, 1 - f(t + 1) / f(t));
    left.push_back(product);
  }
  return left;
}

double DrawNormal(CounterRng& rng) {
  const double radius = std::sqrt(-2 * std::log(1 - rng.Uniform()));
  return radius * std::cos(2 * std::numbers::pi * rng.Uniform());
}

}  // namespace tributary::worker
