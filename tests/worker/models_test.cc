// The models against plain loops in double precision, written from the definition; and what a wrong layout or batch gets.
#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/model_spec.h"
#include "tests/worker/model_reference.h"
#include "worker/data/counter_rng.h"
#include "worker/models/model.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;
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
  for (size_t row = 0; row < static_cast<size_t>(batch.rows); ++row) {
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
    loss += batch.values.empty() ? CrossEntropy(x, batch.targets[row]) : (x[0] - batch.values[row]) * (x[0] - batch.values[row]);
  }
  return loss / static_cast<double>(batch.rows);
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

void ExpectMlpMatchesReference(const optim::MlpModel& spec, const Batch& batch) {
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  ExpectMatchesReference(**model, *layout, batch,
                         [&](const std::vector<double>& theta) { return ReferenceMlpLoss(spec, *layout, theta, batch); });
}

// Six rows of five numbers, without what is to be learned of them.
Batch RandomTable() {
  CounterRng rng("table");
  Batch batch;
  batch.rows = 6;
  for (int i = 0; i < 30; ++i) {
    batch.features.push_back(static_cast<float>(rng.Uniform() * 4 - 2));
  }
  return batch;
}

TEST(Mlp, LossAndGradientMatchTheReference) {
  Batch batch = RandomTable();
  batch.targets = {0, 1, 2, 2, 1, 0};
  ExpectMlpMatchesReference({.inputs = 5, .hidden = {7, 4}, .outputs = 3}, batch);
}

TEST(Mlp, LossAndGradientOfNumbersMatchTheReference) {
  Batch batch = RandomTable();
  batch.values = {0.5f, -1, 2, 0, 3, -0.25f};
  ExpectMlpMatchesReference({.inputs = 5, .hidden = {7, 4}, .outputs = 1, .task = optim::MlpModel::Task::kValues}, batch);
}

TEST(Mlp, ARowThatWeighsMoreCountsAsIfItWereThereMoreOften) {
  const optim::MlpModel spec{.inputs = 5, .hidden = {}, .outputs = 1, .task = optim::MlpModel::Task::kValues};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  Batch weighed = RandomTable();
  weighed.values = {0.5f, -1, 2, 0, 3, -0.25f};
  Batch repeated = weighed;
  weighed.weights = {2, 1, 1, 1, 1, 1};
  repeated.rows = 7;
  repeated.features.insert(repeated.features.end(), weighed.features.begin(), weighed.features.begin() + 5);
  repeated.values.push_back(weighed.values[0]);
  const std::vector<float> theta = RandomTheta(*layout);
  EXPECT_NEAR((*model)->Loss(theta, weighed).value(), (*model)->Loss(theta, repeated).value(), 1e-5);
}

TEST(Mlp, WithoutTheNumbersToPredictItsBatchIsRefused) {
  const optim::MlpModel spec{.inputs = 5, .hidden = {}, .outputs = 1, .task = optim::MlpModel::Task::kValues};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT((*model)->Loss(RandomTheta(*layout), RandomTable()).status().message(), HasSubstr("0 values"));
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
