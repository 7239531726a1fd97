// The models against plain loops in double precision, written from the definition; and what a wrong layout or batch gets.
#include <cmath>
#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/model_spec.h"
#include "worker/data/counter_rng.h"
#include "worker/models/model.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;
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

double Gelu(double x) {
  return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
}

// x [in] -> [out] with weight [out, in].
std::vector<double> Linear(const std::vector<double>& x, const double* weight, const double* bias, size_t out) {
  std::vector<double> y(out);
  for (size_t o = 0; o < out; ++o) {
    y[o] = bias == nullptr ? 0 : bias[o];
    for (size_t i = 0; i < x.size(); ++i) {
      y[o] += weight[o * x.size() + i] * x[i];
    }
  }
  return y;
}

std::vector<double> Norm(const std::vector<double>& x, const double* weight, const double* bias) {
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

double CrossEntropy(const std::vector<double>& logits, int64_t target) {
  double sum = 0;
  for (const double logit : logits) {
    sum += std::exp(logit);
  }
  return std::log(sum) - logits[static_cast<size_t>(target)];
}

void AddTo(std::vector<double>& x, const std::vector<double>& y) {
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] += y[i];
  }
}

double ReferenceGptLoss(const optim::GptModel& model, const optim::Layout& layout, const std::vector<double>& theta, const Batch& batch) {
  const Weights w(layout, theta);
  const auto width = static_cast<size_t>(model.width), heads = static_cast<size_t>(model.heads), depth = width / heads;
  const size_t rows = static_cast<size_t>(batch.rows), length = batch.tokens.size() / rows;
  double loss = 0;
  for (size_t row = 0; row < rows; ++row) {
    Matrix x(length, std::vector<double>(width));
    for (size_t t = 0; t < length; ++t) {
      const auto token = static_cast<size_t>(batch.tokens[row * length + t]);
      for (size_t i = 0; i < width; ++i) {
        x[t][i] = w("wte")[token * width + i] + w("wpe")[t * width + i];
      }
    }
    for (int64_t l = 0; l < model.layers; ++l) {
      const std::string h = "h." + std::to_string(l) + ".";
      Matrix qkv;
      for (const auto& position : x) {
        qkv.push_back(
            Linear(Norm(position, w(h + "ln1.weight"), w(h + "ln1.bias")), w(h + "attn.qkv.weight"), w(h + "attn.qkv.bias"), 3 * width));
      }
      for (size_t t = 0; t < length; ++t) {
        std::vector<double> mixed(width, 0.0);
        for (size_t head = 0; head < heads; ++head) {
          std::vector<double> attention(t + 1);
          double total = 0;
          for (size_t s = 0; s <= t; ++s) {
            double score = 0;
            for (size_t d = 0; d < depth; ++d) {
              score += qkv[t][head * depth + d] * qkv[s][width + head * depth + d];
            }
            total += attention[s] = std::exp(score / std::sqrt(static_cast<double>(depth)));
          }
          for (size_t s = 0; s <= t; ++s) {
            for (size_t d = 0; d < depth; ++d) {
              mixed[head * depth + d] += attention[s] / total * qkv[s][2 * width + head * depth + d];
            }
          }
        }
        AddTo(x[t], Linear(mixed, w(h + "attn.out.weight"), w(h + "attn.out.bias"), width));
      }
      for (auto& position : x) {
        std::vector<double> hidden =
            Linear(Norm(position, w(h + "ln2.weight"), w(h + "ln2.bias")), w(h + "mlp.up.weight"), w(h + "mlp.up.bias"), 4 * width);
        for (double& value : hidden) {
          value = Gelu(value);
        }
        AddTo(position, Linear(hidden, w(h + "mlp.down.weight"), w(h + "mlp.down.bias"), width));
      }
    }
    for (size_t t = 0; t < length; ++t) {
      loss += CrossEntropy(Linear(Norm(x[t], w("lnf.weight"), w("lnf.bias")), w("wte"), nullptr, 256), batch.targets[row * length + t]);
    }
  }
  return loss / static_cast<double>(batch.targets.size());
}

double ReferenceMlpLoss(const optim::MlpModel& model, const optim::Layout& layout, const std::vector<double>& theta, const Batch& batch) {
  const Weights w(layout, theta);
  std::vector<int64_t> widths = model.hidden;
  widths.push_back(model.outputs);
  double loss = 0;
  for (size_t row = 0; row < batch.targets.size(); ++row) {
    const auto first = batch.features.begin() + static_cast<ptrdiff_t>(row) * model.inputs;
    std::vector<double> x(first, first + model.inputs);
    for (size_t i = 0; i < widths.size(); ++i) {
      if (i > 0) {
        for (double& value : x) {
          value = Gelu(value);
        }
      }
      const std::string fc = "fc." + std::to_string(i);
      x = Linear(x, w(fc + ".weight"), w(fc + ".bias"), static_cast<size_t>(widths[i]));
    }
    loss += CrossEntropy(x, batch.targets[row]);
  }
  return loss / static_cast<double>(batch.targets.size());
}

std::vector<float> RandomTheta(const optim::Layout& layout) {
  CounterRng rng("theta");
  std::vector<float> theta(static_cast<size_t>(layout.size()));
  for (float& value : theta) {
    value = static_cast<float>(rng.Uniform() - 0.5);
  }
  return theta;
}

Batch RandomText(int64_t rows, int64_t length) {
  CounterRng rng("text");
  Batch batch;
  batch.rows = rows;
  for (int64_t i = 0; i < rows * length; ++i) {
    batch.tokens.push_back(static_cast<int64_t>(rng.Below(256)));
    batch.targets.push_back(static_cast<int64_t>(rng.Below(256)));
  }
  return batch;
}

// Loss to fp32 accuracy, and the gradient in each of a few random directions against central differences of the double reference.
void ExpectMatchesReference(Model& model, const optim::Layout& layout, const Batch& batch,
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

TEST(Gpt, LossAndGradientMatchTheReference) {
  const optim::GptModel spec{.layers = 2, .heads = 2, .width = 8, .context = 6};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  const Batch batch = RandomText(3, 6);
  ExpectMatchesReference(**model, *layout, batch,
                         [&](const std::vector<double>& theta) { return ReferenceGptLoss(spec, *layout, theta, batch); });
}

TEST(Gpt, TakesTextShorterThanItsContext) {
  const optim::GptModel spec{.layers = 1, .heads = 2, .width = 8, .context = 16};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  const Batch batch = RandomText(2, 3);
  const std::vector<float> theta = RandomTheta(*layout);
  const auto loss = (*model)->Loss(theta, batch);
  ASSERT_TRUE(loss.ok()) << loss.status();
  EXPECT_NEAR(*loss, ReferenceGptLoss(spec, *layout, std::vector<double>(theta.begin(), theta.end()), batch), 1e-4);
}

TEST(Gpt, NoPositionSeesALaterOne) {
  const optim::GptModel spec{.layers = 2, .heads = 2, .width = 16, .context = 8};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<float> theta = RandomTheta(*layout);
  Batch batch = RandomText(1, 5);
  const auto alone = (*model)->Outputs(theta, batch);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(alone->size(), 5 * 256u);
  // The loss of the first five targets does not depend on the tokens that follow them.
  const auto loss_of_five = (*model)->Loss(theta, batch);
  ASSERT_TRUE(loss_of_five.ok());
  double sums[2];
  for (int variant = 0; variant < 2; ++variant) {
    Batch longer = batch;
    for (int i = 0; i < 3; ++i) {
      longer.tokens.push_back(variant * 100 + i);
      longer.targets.push_back(0);
    }
    const auto with_tail = (*model)->Loss(theta, longer);
    ASSERT_TRUE(with_tail.ok());
    // Remove the tail's share by asking for it alone: target 0 at the last three places.
    double tail = 0;
    for (size_t end = 6; end <= 8; ++end) {
      Batch prefix;
      prefix.rows = 1;
      prefix.tokens.assign(longer.tokens.begin(), longer.tokens.begin() + static_cast<ptrdiff_t>(end));
      const auto logits = (*model)->Outputs(theta, prefix);
      ASSERT_TRUE(logits.ok());
      tail += CrossEntropy(std::vector<double>(logits->end() - 256, logits->end()), 0);
    }
    sums[variant] = *with_tail * 8 - tail;
  }
  EXPECT_NEAR(sums[0], *loss_of_five * 5, 1e-3);
  EXPECT_NEAR(sums[1], *loss_of_five * 5, 1e-3);
}

TEST(Gpt, TheSameInputsGiveTheSameBits) {
  const optim::GptModel spec{.layers = 2, .heads = 4, .width = 64, .context = 32};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const std::vector<float> theta = RandomTheta(*layout);
  std::vector<float> first(theta.size()), again(theta.size());
  for (std::vector<float>* gradient : {&first, &again}) {
    const auto model = Model::Create(spec, *layout, 2);
    ASSERT_TRUE(model.ok()) << model.status();
    ASSERT_TRUE((*model)->LossAndGradient(theta, RandomText(4, 32), absl::MakeSpan(*gradient)).ok());
  }
  EXPECT_EQ(first, again);
}

TEST(Mlp, LossAndGradientMatchTheReference) {
  const optim::MlpModel spec{.inputs = 5, .hidden = {7, 4}, .outputs = 3};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  CounterRng rng("table");
  Batch batch;
  batch.rows = 6;
  for (int i = 0; i < 30; ++i) {
    batch.features.push_back(static_cast<float>(rng.Uniform() * 4 - 2));
  }
  batch.targets = {0, 1, 2, 2, 1, 0};
  ExpectMatchesReference(**model, *layout, batch,
                         [&](const std::vector<double>& theta) { return ReferenceMlpLoss(spec, *layout, theta, batch); });
}

TEST(Model, ALayoutOfAnotherModelIsInternalAndNamesTheBlock) {
  const optim::GptModel spec{.layers = 1, .heads = 2, .width = 8, .context = 6};
  const auto wider = optim::MakeLayout(optim::GptModel{.layers = 1, .heads = 2, .width = 16, .context = 6});
  const auto deeper = optim::MakeLayout(optim::GptModel{.layers = 2, .heads = 2, .width = 8, .context = 6});
  const auto other = optim::MakeLayout(optim::MlpModel{.inputs = 2, .hidden = {}, .outputs = 2});
  ASSERT_TRUE(wider.ok() && deeper.ok() && other.ok());
  EXPECT_EQ(Model::Create(spec, *wider, 1).status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(Model::Create(spec, *wider, 1).status().message(),
              HasSubstr("block wte has shape [256, 16] in the layout and [256, 8] in the model"));
  EXPECT_THAT(Model::Create(spec, *deeper, 1).status().message(), HasSubstr("blocks and the model reads"));
  EXPECT_THAT(Model::Create(spec, *other, 1).status().message(), HasSubstr("the layout has no block wte"));
}

TEST(Model, InputsThatDoNotFitAreRefusedAndNothingThrows) {
  const optim::GptModel spec{.layers = 1, .heads = 2, .width = 8, .context = 6};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<float> theta = RandomTheta(*layout);
  EXPECT_EQ((*model)->Loss(std::vector<float>(3), RandomText(1, 4)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*model)->Loss(theta, RandomText(1, 7)).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ((*model)->Loss(theta, Batch()).status().code(), absl::StatusCode::kInvalidArgument);
  Batch missing_target = RandomText(1, 4);
  missing_target.targets.pop_back();
  EXPECT_EQ((*model)->Loss(theta, missing_target).status().code(), absl::StatusCode::kInvalidArgument);
  Batch wild_token = RandomText(1, 4);
  wild_token.tokens[2] = 256;
  EXPECT_THAT((*model)->Loss(theta, wild_token).status().message(), HasSubstr("LibTorch: "));
}

}  // namespace
}  // namespace tributary::worker
