// The models of images against plain loops in double precision, written from the definitions.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/model_spec.h"
#include "tests/worker/model_reference.h"
#include "worker/data/counter_rng.h"
#include "worker/models/model.h"
#include "worker/models/noise_schedule.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;

// [channels, height, width]
struct Image {
  size_t channels = 0, height = 0, width = 0;
  std::vector<double> values;

  double& at(size_t c, size_t y, size_t x) { return values[(c * height + y) * width + x]; }
  double at(size_t c, size_t y, size_t x) const { return values[(c * height + y) * width + x]; }
};

Image Blank(size_t channels, size_t height, size_t width) {
  return {channels, height, width, std::vector<double>(channels * height * width, 0.0)};
}

template <typename Function>
Image Each(Image x, Function function) {
  std::transform(x.values.begin(), x.values.end(), x.values.begin(), function);
  return x;
}

double Relu(double x) {
  return std::max(0.0, x);
}

double Silu(double x) {
  return x / (1 + std::exp(-x));
}

// weight [out, in, side, side], with a border of zeros that keeps the size; side 1 or 3.
Image Convolve(const Image& x, const double* weight, const double* bias, size_t out, size_t side, size_t stride) {
  const size_t border = side / 2;
  Image y = Blank(out, (x.height + stride - 1) / stride, (x.width + stride - 1) / stride);
  for (size_t o = 0; o < out; ++o) {
    for (size_t row = 0; row < y.height; ++row) {
      for (size_t column = 0; column < y.width; ++column) {
        double sum = bias == nullptr ? 0 : bias[o];
        for (size_t i = 0; i < x.channels; ++i) {
          for (size_t dy = 0; dy < side; ++dy) {
            for (size_t dx = 0; dx < side; ++dx) {
              const size_t from_y = row * stride + dy - border, from_x = column * stride + dx - border;  // wraps round below 0
              if (from_y < x.height && from_x < x.width) {
                sum += weight[((o * x.channels + i) * side + dy) * side + dx] * x.at(i, from_y, from_x);
              }
            }
          }
        }
        y.at(o, row, column) = sum;
      }
    }
  }
  return y;
}

Image GroupNorm(const Image& x, const double* weight, const double* bias) {
  Image y = x;
  const size_t groups = static_cast<size_t>(optim::NormGroups(static_cast<int64_t>(x.channels)));
  const size_t count = x.values.size() / groups, pixels = x.height * x.width;
  for (size_t g = 0; g < groups; ++g) {
    double mean = 0, variance = 0;
    for (size_t i = g * count; i < (g + 1) * count; ++i) {
      mean += x.values[i] / static_cast<double>(count);
    }
    for (size_t i = g * count; i < (g + 1) * count; ++i) {
      variance += (x.values[i] - mean) * (x.values[i] - mean) / static_cast<double>(count);
    }
    for (size_t i = g * count; i < (g + 1) * count; ++i) {
      y.values[i] = (x.values[i] - mean) / std::sqrt(variance + 1e-5) * weight[i / pixels] + bias[i / pixels];
    }
  }
  return y;
}

Image Add(Image x, const Image& y) {
  AddTo(x.values, y.values);
  return x;
}

Image ImageOf(const Batch& batch, size_t row, size_t channels, size_t height, size_t width) {
  Image image = Blank(channels, height, width);
  const auto first = batch.features.begin() + static_cast<ptrdiff_t>(row * image.values.size());
  image.values.assign(first, first + static_cast<ptrdiff_t>(image.values.size()));
  return image;
}

double ReferenceConvNetLoss(const optim::ConvNetModel& model, const optim::Layout& layout, const std::vector<double>& theta,
                            const Batch& batch) {
  const Weights w(layout, theta);
  double loss = 0;
  for (size_t row = 0; row < static_cast<size_t>(batch.rows); ++row) {
    Image x = ImageOf(batch, row, static_cast<size_t>(model.channels), static_cast<size_t>(model.height), static_cast<size_t>(model.width));
    for (size_t i = 0; i < model.stages.size(); ++i) {
      const std::string s = absl::StrCat("s.", i, ".");
      const auto channels = static_cast<size_t>(model.stages[i]);
      const Image first = Convolve(x, w(s + "conv1.weight"), nullptr, channels, 3, i == 0 ? 1 : 2);
      const Image h = Each(GroupNorm(first, w(s + "norm1.weight"), w(s + "norm1.bias")), Relu);
      const Image second = Convolve(h, w(s + "conv2.weight"), nullptr, channels, 3, 1);
      x = Each(Add(GroupNorm(second, w(s + "norm2.weight"), w(s + "norm2.bias")), h), Relu);
    }
    std::vector<double> means(x.channels, 0.0);
    for (size_t i = 0; i < x.values.size(); ++i) {
      means[i / (x.height * x.width)] += x.values[i] / static_cast<double>(x.height * x.width);
    }
    loss += CrossEntropy(Linear(means, w("fc.weight"), w("fc.bias"), static_cast<size_t>(model.outputs)), batch.targets[row]);
  }
  return loss / static_cast<double>(batch.rows);
}

Image ReferenceResidual(const Weights& w, const std::string& name, const Image& x, size_t out, const std::vector<double>& time) {
  Image h =
      Convolve(Each(GroupNorm(x, w(name + ".norm1.weight"), w(name + ".norm1.bias")), Silu), w(name + ".conv1.weight"), nullptr, out, 3, 1);
  const std::vector<double> shift = Linear(time, w(name + ".time.weight"), w(name + ".time.bias"), out);
  for (size_t i = 0; i < h.values.size(); ++i) {
    h.values[i] += shift[i / (h.height * h.width)];
  }
  h = Convolve(Each(GroupNorm(h, w(name + ".norm2.weight"), w(name + ".norm2.bias")), Silu), w(name + ".conv2.weight"),
               w(name + ".conv2.bias"), out, 3, 1);
  return Add(h, x.channels == out ? x : Convolve(x, w(name + ".skip.weight"), nullptr, out, 1, 1));
}

// The noise that a U-Net of two stages finds in `x` at step `step`.
Image ReferenceNoise(const optim::DdpmModel& model, const Weights& w, const Image& x, int64_t step) {
  const auto upper = static_cast<size_t>(model.stages[0]), lower = static_cast<size_t>(model.stages[1]);
  std::vector<double> time(64);
  for (size_t i = 0; i < 32; ++i) {
    const double angle = static_cast<double>(step) * std::pow(10000.0, -static_cast<double>(i) / 32);
    time[i] = std::sin(angle);
    time[32 + i] = std::cos(angle);
  }
  for (const char* layer : {"time.0", "time.1"}) {
    time = Linear(time, w(absl::StrCat(layer, ".weight")), w(absl::StrCat(layer, ".bias")), 4 * upper);
    std::transform(time.begin(), time.end(), time.begin(), Silu);
  }
  const Image down0 = ReferenceResidual(w, "down.0", Convolve(x, w("in.weight"), w("in.bias"), upper, 3, 1), upper, time);
  Image halved = Blank(upper, x.height / 2, x.width / 2);
  for (size_t i = 0; i < down0.values.size(); ++i) {
    const size_t column = i % x.width, row = i / x.width % x.height;
    halved.at(i / (x.width * x.height), row / 2, column / 2) += down0.values[i] / 4;
  }
  const auto stacked = [](const Image& above, const Image& below) {
    Image both = Blank(above.channels + below.channels, above.height, above.width);
    std::copy(below.values.begin(), below.values.end(), std::copy(above.values.begin(), above.values.end(), both.values.begin()));
    return both;
  };
  const Image down1 = ReferenceResidual(w, "down.1", halved, lower, time);
  const Image up1 = ReferenceResidual(w, "up.1", stacked(ReferenceResidual(w, "mid", down1, lower, time), down1), lower, time);
  Image doubled = Blank(lower, x.height, x.width);
  for (size_t c = 0; c < lower; ++c) {
    for (size_t y = 0; y < x.height; ++y) {
      for (size_t column = 0; column < x.width; ++column) {
        doubled.at(c, y, column) = up1.at(c, y / 2, column / 2);
      }
    }
  }
  const Image up0 = ReferenceResidual(w, "up.0", stacked(doubled, down0), upper, time);
  return Convolve(Each(GroupNorm(up0, w("norm.weight"), w("norm.bias")), Silu), w("out.weight"), w("out.bias"),
                  static_cast<size_t>(model.channels), 3, 1);
}

// As the model draws steps and noise.
double ReferenceDdpmLoss(const optim::DdpmModel& model, const optim::Layout& layout, const std::vector<double>& theta, const Batch& batch) {
  const Weights w(layout, theta);
  const double begin = CounterRng(absl::StrCat("tributary diffusion steps/", batch.draw)).Uniform();
  CounterRng noise(absl::StrCat("tributary diffusion noise/", batch.draw));
  const std::vector<double> left = NoiseSchedule(model.steps);
  const auto size = static_cast<size_t>(model.size);
  double loss = 0, count = 0;
  for (size_t row = 0; row < static_cast<size_t>(batch.rows); ++row) {
    const double place = std::fmod(begin + static_cast<double>(row) / static_cast<double>(batch.rows), 1.0);
    const auto step = static_cast<int64_t>(place * static_cast<double>(model.steps));
    Image x = ImageOf(batch, row, static_cast<size_t>(model.channels), size, size);
    std::vector<double> drawn;
    for (double& value : x.values) {
      drawn.push_back(DrawNormal(noise));
      value = std::sqrt(left[static_cast<size_t>(step)]) * value + std::sqrt(1 - left[static_cast<size_t>(step)]) * drawn.back();
    }
    const Image found = ReferenceNoise(model, w, x, step);
    for (size_t i = 0; i < drawn.size(); ++i) {
      loss += (found.values[i] - drawn[i]) * (found.values[i] - drawn[i]);
      ++count;
    }
  }
  return loss / count;
}

Batch RandomImages(int64_t rows, int64_t values) {
  CounterRng rng("images");
  Batch batch;
  batch.rows = rows;
  for (int64_t i = 0; i < rows * values; ++i) {
    batch.features.push_back(static_cast<float>(rng.Uniform() * 2 - 1));
  }
  batch.draw = 7;
  return batch;
}

TEST(ConvNet, LossAndGradientMatchTheReference) {
  // Sides that halving rounds up; channels in two groups, in three and in one.
  const optim::ConvNetModel spec{.height = 7, .width = 5, .channels = 3, .stages = {8, 12, 4}, .outputs = 4};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  Batch batch = RandomImages(3, 3 * 7 * 5);
  batch.targets = {0, 3, 1};
  ExpectMatchesReference(**model, *layout, batch,
                         [&](const std::vector<double>& theta) { return ReferenceConvNetLoss(spec, *layout, theta, batch); });
}

TEST(Ddpm, LossAndGradientMatchTheReference) {
  const optim::DdpmModel spec{.size = 6, .channels = 1, .stages = {8, 12}, .steps = 50};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  const Batch batch = RandomImages(3, 36);
  ExpectMatchesReference(**model, *layout, batch,
                         [&](const std::vector<double>& theta) { return ReferenceDdpmLoss(spec, *layout, theta, batch); });
}

TEST(Ddpm, ItsLossIsAFunctionOfTheBatchsDraw) {
  const optim::DdpmModel spec{.size = 4, .channels = 1, .stages = {4}, .steps = 50};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<float> theta = RandomTheta(*layout);
  Batch batch = RandomImages(2, 16);
  const double loss = (*model)->Loss(theta, batch).value();
  EXPECT_EQ((*model)->Loss(theta, batch).value(), loss);
  batch.draw = 8;
  EXPECT_NE((*model)->Loss(theta, batch).value(), loss);
}

TEST(Ddpm, WhatItPredictsDependsOnTheStep) {
  // As small as they may be, and channels in more than one group.
  for (const std::vector<int64_t>& stages : {std::vector<int64_t>{4}, std::vector<int64_t>{8, 5}}) {
    const optim::DdpmModel spec{.size = 4, .channels = 1, .stages = stages, .steps = 50};
    const auto layout = optim::MakeLayout(spec);
    ASSERT_TRUE(layout.ok()) << layout.status();
    const auto model = Model::Create(spec, *layout, 1);
    ASSERT_TRUE(model.ok()) << model.status();
    Batch batch = RandomImages(1, 16);
    batch.tokens = {0};
    const std::vector<float> first = (*model)->Outputs(RandomTheta(*layout), batch).value();
    batch.tokens = {49};
    const std::vector<float> last = (*model)->Outputs(RandomTheta(*layout), batch).value();
    float apart = 0;
    for (size_t i = 0; i < first.size(); ++i) {
      apart = std::max(apart, std::abs(first[i] - last[i]));
    }
    EXPECT_GT(apart, 0.01f) << stages.size() << " stages";
  }
}

// Its last stage is a single pixel.
TEST(ConvNet, SeesItsImageThroughAStageOfOnePixel) {
  const optim::ConvNetModel spec{.height = 2, .width = 2, .channels = 1, .stages = {4, 8}, .outputs = 2};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<float> theta = RandomTheta(*layout);
  Batch one = RandomImages(1, 4), other = one;
  other.features[0] += 1;
  EXPECT_NE((*model)->Outputs(theta, one).value(), (*model)->Outputs(theta, other).value());
}

TEST(Ddpm, AtItsSeededWeightsItPredictsNoNoise) {
  const optim::DdpmModel spec{.size = 4, .channels = 3, .stages = {4, 8}, .steps = 50};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  std::vector<float> theta(static_cast<size_t>(layout->size()));
  ASSERT_TRUE(optim::InitializeWeights(spec, 1, *layout, absl::MakeSpan(theta)).ok());
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  Batch batch = RandomImages(2, 48);
  batch.tokens = {0, 49};
  EXPECT_EQ((*model)->Outputs(theta, batch).value(), std::vector<float>(2 * 48, 0.0f));
}

TEST(ModelsOfImages, TheSameInputsGiveTheSameBits) {
  const optim::ModelSpec specs[] = {optim::ConvNetModel{.height = 16, .width = 16, .channels = 3, .stages = {16, 32}, .outputs = 10},
                                    optim::DdpmModel{.size = 16, .channels = 3, .stages = {16, 32}, .steps = 100}};
  Batch batch = RandomImages(4, 3 * 16 * 16);
  for (const optim::ModelSpec& spec : specs) {
    const auto layout = optim::MakeLayout(spec);
    ASSERT_TRUE(layout.ok()) << layout.status();
    batch.targets = std::holds_alternative<optim::ConvNetModel>(spec) ? std::vector<int64_t>{0, 1, 2, 3} : std::vector<int64_t>();
    const std::vector<float> theta = RandomTheta(*layout);
    std::vector<float> first(theta.size()), again(theta.size());
    for (std::vector<float>* gradient : {&first, &again}) {
      const auto model = Model::Create(spec, *layout, 2);
      ASSERT_TRUE(model.ok()) << model.status();
      ASSERT_TRUE((*model)->LossAndGradient(theta, batch, absl::MakeSpan(*gradient)).ok());
    }
    EXPECT_EQ(first, again);
  }
}

TEST(ModelsOfImages, ImagesOfAnotherSizeAreRefused) {
  const optim::DdpmModel spec{.size = 4, .channels = 1, .stages = {4}, .steps = 50};
  const auto layout = optim::MakeLayout(spec);
  ASSERT_TRUE(layout.ok()) << layout.status();
  const auto model = Model::Create(spec, *layout, 1);
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<float> theta = RandomTheta(*layout);
  EXPECT_THAT((*model)->Loss(theta, RandomImages(2, 17)).status().message(), HasSubstr("2 images and 34 values"));
  EXPECT_FALSE((*model)->Loss(theta, Batch()).ok());
  Batch beyond = RandomImages(1, 16);
  beyond.tokens = {50};
  EXPECT_THAT((*model)->Outputs(theta, beyond).status().message(), HasSubstr("step 50 of 50"));
}

TEST(NoiseSchedule, FallsFromTheImageToNoise) {
  for (const int64_t steps : {2, 50, 1000}) {
    const std::vector<double> left = NoiseSchedule(steps);
    ASSERT_EQ(left.size(), static_cast<size_t>(steps));
    EXPECT_LT(left.back(), 0.001);
    EXPECT_GT(left.back(), 0);
    EXPECT_TRUE(std::is_sorted(left.rbegin(), left.rend()));
  }
  // The middle of the published schedule: cos^2 of about half of a right angle.
  EXPECT_NEAR(NoiseSchedule(1000)[499], 0.4938, 1e-3);
}

}  // namespace
}  // namespace tributary::worker
