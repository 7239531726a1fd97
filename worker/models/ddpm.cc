// Denoising diffusion: a U-Net that predicts the noise in an image. Shapes in comments: N images, C channels, S x S, E of the embedded
// step.
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/data/counter_rng.h"
#include "worker/models/network.h"
#include "worker/models/noise_schedule.h"

namespace tributary::worker {
namespace {

constexpr int64_t kTimeFeatures = 64;
// Of the slowest sine, as in transformers and in Ho et al.
constexpr double kLongestPeriod = 10000;

// Places of a weight and its bias among the parameters.
struct Affine {
  size_t weight = 0;
  size_t bias = 0;
};

struct Norm {
  int64_t groups = 1;
  Affine place;
};

struct Residual {
  Norm norm1, norm2;
  size_t conv1 = 0;
  Affine time, conv2;
  bool has_skip = false;
  size_t skip = 0;
};

class DdpmNetwork final : public Network {
 public:
  DdpmNetwork(const optim::DdpmModel& model, BlockFinder& blocks)
      : size_(model.size), channels_(model.channels), left_(NoiseSchedule(model.steps)) {
    const std::vector<int64_t>& stages = model.stages;
    const int64_t embedding = 4 * stages.front();
    auto affine = [&blocks](const std::string& name, const std::vector<int64_t>& shape) {
      return Affine{blocks.Find(name + ".weight", shape), blocks.Find(name + ".bias", {shape[0]})};
    };
    auto norm = [&](const std::string& name, int64_t channels) { return Norm{optim::NormGroups(channels), affine(name, {channels})}; };
    auto residual = [&](const std::string& name, int64_t in, int64_t out) {
      Residual made;
      made.norm1 = norm(name + ".norm1", in);
      made.conv1 = blocks.Find(name + ".conv1.weight", {out, in, 3, 3});
      made.time = affine(name + ".time", {out, embedding});
      made.norm2 = norm(name + ".norm2", out);
      made.conv2 = affine(name + ".conv2", {out, out, 3, 3});
      made.has_skip = in != out;
      if (made.has_skip) {
        made.skip = blocks.Find(name + ".skip.weight", {out, in, 1, 1});
      }
      return made;
    };
    time0_ = affine("time.0", {embedding, kTimeFeatures});
    time1_ = affine("time.1", {embedding, embedding});
    in_ = affine("in", {stages.front(), channels_, 3, 3});
    int64_t below = stages.front();
    for (size_t i = 0; i < stages.size(); ++i) {
      down_.push_back(residual(absl::StrCat("down.", i), below, stages[i]));
      below = stages[i];
    }
    mid_ = residual("mid", below, below);
    up_.resize(stages.size());
    for (size_t i = stages.size(); i-- > 0;) {
      up_[i] = residual(absl::StrCat("up.", i), below + stages[i], stages[i]);
      below = stages[i];
    }
    norm_ = norm("norm", below);
    out_ = affine("out", {channels_, below, 3, 3});
  }

  absl::Status CheckInputs(const Batch& batch) const override {
    TRIBUTARY_RETURN_IF_ERROR(CheckImages(batch, channels_, size_, size_));
    if (!batch.tokens.empty() && static_cast<int64_t>(batch.tokens.size()) != batch.rows) {
      return absl::InvalidArgumentError(
          absl::StrCat("a batch of ", batch.rows, " images is at ", batch.tokens.size(), " steps of diffusion"));
    }
    for (const int64_t step : batch.tokens) {
      if (step < 0 || step >= static_cast<int64_t>(left_.size())) {
        return absl::InvalidArgumentError(absl::StrCat("step ", step, " of ", left_.size(), " steps of diffusion"));
      }
    }
    return absl::OkStatus();
  }

  // It is the batch's own noise that it learns to predict.
  absl::Status CheckTargets(const Batch& batch) const override { return CheckCount("steps", batch.tokens.size(), 0, batch); }

  // The predicted noise [N, C, S, S].
  at::Tensor Outputs(absl::Span<const at::Tensor> p, const Batch& batch) const override {
    const at::Tensor images = at::from_blob(const_cast<float*>(batch.features.data()), {batch.rows, channels_, size_, size_}, at::kFloat);
    if (!batch.tokens.empty()) {
      return Predict(p, images, batch.tokens);
    }
    const std::vector<int64_t> steps = DrawSteps(batch);
    at::Tensor noisy = Noise(batch);
    const size_t values = static_cast<size_t>(channels_ * size_ * size_);
    float* const mixed = noisy.data_ptr<float>();
    for (size_t row = 0; row < steps.size(); ++row) {
      const double left = left_[static_cast<size_t>(steps[row])];
      const auto image_share = static_cast<float>(std::sqrt(left));
      const auto noise_share = static_cast<float>(std::sqrt(1 - left));
      for (size_t i = row * values; i < (row + 1) * values; ++i) {
        mixed[i] = image_share * batch.features[i] + noise_share * mixed[i];
      }
    }
    return Predict(p, noisy, steps);
  }

  at::Tensor MeanLoss(const at::Tensor& outputs, const Batch& batch) const override { return at::mse_loss(outputs, Noise(batch)); }

 private:
  // One for each image, spread evenly over all steps from where the draw begins, which makes the batch's loss vary less than independent
  // ones would: Kingma et al., arXiv 2107.00630, appendix I.1.
  std::vector<int64_t> DrawSteps(const Batch& batch) const {
    const double begin = CounterRng(absl::StrCat("tributary diffusion steps/", batch.draw)).Uniform();
    std::vector<int64_t> steps;
    for (int64_t row = 0; row < batch.rows; ++row) {
      const double place = begin + static_cast<double>(row) / static_cast<double>(batch.rows);
      steps.push_back(static_cast<int64_t>((place - std::floor(place)) * static_cast<double>(left_.size())));
    }
    return steps;
  }

  // [N, C, S, S]
  at::Tensor Noise(const Batch& batch) const {
    CounterRng rng(absl::StrCat("tributary diffusion noise/", batch.draw));
    at::Tensor noise = at::empty({batch.rows, channels_, size_, size_}, at::kFloat);
    float* const values = noise.data_ptr<float>();
    for (int64_t i = 0; i < noise.numel(); ++i) {
      values[i] = static_cast<float>(DrawNormal(rng));
    }
    return noise;
  }

  // Noise in x [N, C, S, S], which is at `steps` [N].
  at::Tensor Predict(absl::Span<const at::Tensor> p, const at::Tensor& x, const std::vector<int64_t>& steps) const {
    const at::Tensor time = at::silu(Linear(p, time1_, at::silu(Linear(p, time0_, TimeFeatures(steps)))));  // [N, E]
    at::Tensor h = Convolve(p, in_, x);
    std::vector<at::Tensor> outputs;
    for (size_t i = 0; i < down_.size(); ++i) {
      if (i > 0) {
        h = at::avg_pool2d(h, 2);
      }
      h = Apply(p, down_[i], h, time);
      outputs.push_back(h);
    }
    h = Apply(p, mid_, h, time);
    for (size_t i = up_.size(); i-- > 0;) {
      if (i + 1 < up_.size()) {
        h = at::upsample_nearest2d(h, {outputs[i].size(2), outputs[i].size(3)});
      }
      h = Apply(p, up_[i], at::cat({h, outputs[i]}, 1), time);
    }
    return Convolve(p, out_, at::silu(Normalise(p, norm_, h)));
  }

  // [N, 64]: sines, then cosines.
  static at::Tensor TimeFeatures(const std::vector<int64_t>& steps) {
    constexpr int64_t kHalf = kTimeFeatures / 2;
    at::Tensor features = at::empty({static_cast<int64_t>(steps.size()), kTimeFeatures}, at::kFloat);
    float* values = features.data_ptr<float>();
    for (const int64_t step : steps) {
      for (int64_t i = 0; i < kHalf; ++i) {
        const double angle = static_cast<double>(step) * std::pow(kLongestPeriod, -static_cast<double>(i) / kHalf);
        values[i] = static_cast<float>(std::sin(angle));
        values[kHalf + i] = static_cast<float>(std::cos(angle));
      }
      values += kTimeFeatures;
    }
    return features;
  }

  // `time` is the embedded step after its silu.
  static at::Tensor Apply(absl::Span<const at::Tensor> p, const Residual& block, const at::Tensor& x, const at::Tensor& time) {
    at::Tensor h = at::conv2d(at::silu(Normalise(p, block.norm1, x)), p[block.conv1], /*bias=*/{}, /*stride=*/1, /*padding=*/1);
    h = h.add(Linear(p, block.time, time).unsqueeze(2).unsqueeze(3));
    h = Convolve(p, block.conv2, at::silu(Normalise(p, block.norm2, h)));
    return h.add(block.has_skip ? at::conv2d(x, p[block.skip]) : x);
  }

  static at::Tensor Normalise(absl::Span<const at::Tensor> p, const Norm& norm, const at::Tensor& x) {
    return at::group_norm(x, norm.groups, p[norm.place.weight], p[norm.place.bias]);
  }

  static at::Tensor Convolve(absl::Span<const at::Tensor> p, const Affine& place, const at::Tensor& x) {
    return at::conv2d(x, p[place.weight], p[place.bias], /*stride=*/1, /*padding=*/1);
  }

  static at::Tensor Linear(absl::Span<const at::Tensor> p, const Affine& place, const at::Tensor& x) {
    return at::linear(x, p[place.weight], p[place.bias]);
  }

  const int64_t size_;
  const int64_t channels_;
  const std::vector<double> left_;  // NoiseSchedule
  Affine time0_, time1_, in_, out_;
  std::vector<Residual> down_, up_;
  Residual mid_;
  Norm norm_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::DdpmModel& model, const optim::Layout& layout) {
  BlockFinder blocks(layout);
  auto network = std::make_unique<DdpmNetwork>(model, blocks);
  TRIBUTARY_RETURN_IF_ERROR(blocks.status());
  return network;
}

}  // namespace tributary::worker
