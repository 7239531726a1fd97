#include "optim/adamw.h"

#include <cassert>
#include <cmath>
#include <cstddef>

#include "optim/simd.h"

namespace tributary::optim {
namespace {

// base^exponent by squaring: multiplications only, so that every machine gets the same double.
double Power(double base, uint64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0) {
      result *= base;
    }
    base *= base;
  }
  return result;
}

// The constants of one step, each rounded to fp32 once.
struct StepConstants {
  float beta1, one_minus_beta1, correction1;
  float beta2, one_minus_beta2, correction2;
  float learning_rate, keep, epsilon;
};

TRIBUTARY_SIMD_CLONES
void StepElements(const StepConstants& constants, size_t size, const float* __restrict gradient, float* __restrict m, float* __restrict v,
                  float* __restrict theta) {
  const StepConstants c = constants;
  for (size_t i = 0; i < size; ++i) {
    const float g = gradient[i];
    const float new_m = c.beta1 * m[i] + c.one_minus_beta1 * g;
    const float new_v = c.beta2 * v[i] + c.one_minus_beta2 * g * g;
    m[i] = new_m;
    v[i] = new_v;
    theta[i] = theta[i] * c.keep - c.learning_rate * (new_m / c.correction1) / (std::sqrt(new_v / c.correction2) + c.epsilon);
  }
}

TRIBUTARY_SIMD_CLONES
void ScaleElements(float factor, size_t size, float* __restrict values) {
  for (size_t i = 0; i < size; ++i) {
    values[i] *= factor;
  }
}

// Independent partial sums, so that the loop runs as wide as the processor does and still adds in one fixed order.
constexpr size_t kLanes = 16;

TRIBUTARY_SIMD_CLONES
void AddSquares(size_t groups, const float* __restrict values, double* __restrict lanes) {
  double sums[kLanes] = {};
  for (size_t g = 0; g < groups; ++g) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const double value = values[g * kLanes + lane];
      sums[lane] += value * value;
    }
  }
  for (size_t lane = 0; lane < kLanes; ++lane) {
    lanes[lane] = sums[lane];
  }
}

}  // namespace

void AdamWStep(const AdamOptions& options, float learning_rate, float weight_decay, uint64_t step, absl::Span<const float> gradient,
               absl::Span<float> m, absl::Span<float> v, absl::Span<float> theta) {
  assert(step >= 1 && m.size() == gradient.size() && v.size() == gradient.size() && theta.size() == gradient.size());
  StepConstants constants;
  constants.beta1 = options.beta1;
  constants.one_minus_beta1 = 1.0f - options.beta1;
  constants.correction1 = static_cast<float>(1.0 - Power(options.beta1, step));
  constants.beta2 = options.beta2;
  constants.one_minus_beta2 = 1.0f - options.beta2;
  constants.correction2 = static_cast<float>(1.0 - Power(options.beta2, step));
  constants.learning_rate = learning_rate;
  constants.keep = 1.0f - learning_rate * weight_decay;
  constants.epsilon = options.epsilon;
  StepElements(constants, gradient.size(), gradient.data(), m.data(), v.data(), theta.data());
}

double SquaredNorm(absl::Span<const float> values) {
  const size_t groups = values.size() / kLanes;
  double lanes[kLanes];
  AddSquares(groups, values.data(), lanes);
  double sum = 0;
  for (double lane : lanes) {
    sum += lane;
  }
  for (size_t i = groups * kLanes; i < values.size(); ++i) {
    sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return sum;
}

double ClipNorm(float clip_norm, absl::Span<float> gradient) {
  const double norm = std::sqrt(SquaredNorm(gradient));
  if (std::isfinite(norm) && clip_norm > 0 && norm > clip_norm) {
    ScaleElements(static_cast<float>(clip_norm / norm), gradient.size(), gradient.data());
  }
  return norm;
}

}  // namespace tributary::optim
