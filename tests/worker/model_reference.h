// The parts that the models' tests compute with: plain loops in double precision, written from the definitions.
#ifndef TRIBUTARY_TESTS_WORKER_MODEL_REFERENCE_H_
#define TRIBUTARY_TESTS_WORKER_MODEL_REFERENCE_H_

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "optim/layout.h"
#include "worker/data/counter_rng.h"
#include "worker/models/model.h"

namespace tributary::worker {

using Matrix = std::vector<std::vector<double>>;

// The blocks of a flat vector by name.
class Weights {
 public:
  Weights(const optim::Layout& layout, const std::vector<double>& theta) : layout_(layout), theta_(theta) {}
  const double* operator()(const std::string& name) const {
    for (const optim::Block& block : layout_.blocks()) {
      if (block.name == name) {
        return theta_.data() + block.offset;
      }
    }
    ADD_FAILURE() << "no block " << name;
    return theta_.data();
  }

 private:
  const optim::Layout& layout_;
  const std::vector<double>& theta_;
};

inline double Gelu(double x) {
  return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
}

// x [in] -> [out] with weight [out, in].
inline std::vector<double> Linear(const std::vector<double>& x, const double* weight, const double* bias, size_t out) {
  std::vector<double> y(out);
  for (size_t o = 0; o < out; ++o) {
    y[o] = bias == nullptr ? 0 : bias[o];
    for (size_t i = 0; i < x.size(); ++i) {
      y[o] += weight[o * x.size() + i] * x[i];
    }
  }
  return y;
}

inline std::vector<double> Norm(const std::vector<double>& x, const double* weight, const double* bias) {
  double mean = 0, variance = 0;
  for (const double value : x) {
    mean += value / x.size();
  }
  for (const double value : x) {
    variance += (value - mean) * (value - mean) / x.size();
  }
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    y[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i];
  }
  return y;
}

inline double CrossEntropy(const std::vector<double>& logits, int64_t target) {
  double sum = 0;
  for (const double logit : logits) {
    sum += std::exp(logit);
  }
  return std::log(sum) - logits[static_cast<size_t>(target)];
}

inline void AddTo(std::vector<double>& x, const std::vector<double>& y) {
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] += y[i];
  }
}

inline std::vector<float> RandomTheta(const optim::Layout& layout) {
  CounterRng rng("theta");
  std::vector<float> theta(static_cast<size_t>(layout.size()));
  for (float& value : theta) {
    value = static_cast<float>(rng.Uniform() - 0.5);
  }
  return theta;
}

// Loss to fp32 accuracy, and the gradient in each of a few random directions against central differences of the double reference.
inline void ExpectMatchesReference(Model& model, const optim::Layout& layout, const Batch& batch,
                                   const std::function<double(const std::vector<double>&)>& reference) {
  const std::vector<float> theta = RandomTheta(layout);
  const std::vector<double> exact(theta.begin(), theta.end());
  std::vector<float> gradient(theta.size(), 7.0f);
  const auto loss = model.LossAndGradient(theta, batch, absl::MakeSpan(gradient));
  ASSERT_TRUE(loss.ok()) << loss.status();
  EXPECT_NEAR(*loss, reference(exact), 2e-5 * *loss);
  const auto forward_only = model.Loss(theta, batch);
  ASSERT_TRUE(forward_only.ok()) << forward_only.status();
  EXPECT_NEAR(*forward_only, *loss, 1e-6 * *loss);
  CounterRng rng("directions");
  // One direction within every block, so that a gradient in the wrong place shows.
  for (const optim::Block& block : layout.blocks()) {
    std::vector<double> above = exact, below = exact;
    double expected_size = 0, along = 0;
    const double step = 1e-4;
    for (int64_t i = block.offset; i < block.offset + block.size; ++i) {
      const double direction = rng.Uniform() - 0.5;
      const auto place = static_cast<size_t>(i);
      above[place] += step * direction;
      below[place] -= step * direction;
      along += direction * gradient[place];
      expected_size += std::abs(direction * gradient[place]);
    }
    EXPECT_NEAR(along, (reference(above) - reference(below)) / (2 * step), 1e-4 * expected_size + 1e-6) << block.name;
  }
}

}  // namespace tributary::worker

#endif  // TRIBUTARY_TESTS_WORKER_MODEL_REFERENCE_H_
