// Convolutional network: residual stages, the mean over the image, and a linear layer. Shapes in comments: N images, C channels, H x W.
#include <ATen/ops/conv2d.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/models/network.h"

namespace tributary::worker {
namespace {

// Places of a stage's blocks among the parameters.
struct Stage {
  int64_t groups = 1;
  size_t conv1 = 0, norm1_weight = 0, norm1_bias = 0;
  size_t conv2 = 0, norm2_weight = 0, norm2_bias = 0;
};

class ConvNetwork final : public Network {
 public:
  ConvNetwork(const optim::ConvNetModel& model, BlockFinder& blocks)
      : channels_(model.channels), height_(model.height), width_(model.width) {
    int64_t in = model.channels;
    for (size_t i = 0; i < model.stages.size(); ++i) {
      const int64_t out = model.stages[i];
      const std::string s = absl::StrCat("s.", i, ".");
      stages_.push_back({optim::NormGroups(out), blocks.Find(s + "conv1.weight", {out, in, 3, 3}), blocks.Find(s + "norm1.weight", {out}),
                         blocks.Find(s + "norm1.bias", {out}), blocks.Find(s + "conv2.weight", {out, out, 3, 3}),
                         blocks.Find(s + "norm2.weight", {out}), blocks.Find(s + "norm2.bias", {out})});
      in = out;
    }
    fc_weight_ = blocks.Find("fc.weight", {model.outputs, in});
    fc_bias_ = blocks.Find("fc.bias", {model.outputs});
  }

  absl::Status CheckInputs(const Batch& batch) const override { return CheckImages(batch, channels_, height_, width_); }

  // [N, outputs]
  at::Tensor Outputs(absl::Span<const at::Tensor> p, const Batch& batch) const override {
    at::Tensor x = at::from_blob(const_cast<float*>(batch.features.data()), {batch.rows, channels_, height_, width_}, at::kFloat);
    for (size_t i = 0; i < stages_.size(); ++i) {
      const Stage& stage = stages_[i];
      const int64_t stride = i == 0 ? 1 : 2;
      const at::Tensor first = at::conv2d(x, p[stage.conv1], /*bias=*/{}, stride, /*padding=*/1);
      const at::Tensor h = at::relu(at::group_norm(first, stage.groups, p[stage.norm1_weight], p[stage.norm1_bias]));
      const at::Tensor second = at::conv2d(h, p[stage.conv2], /*bias=*/{}, /*stride=*/1, /*padding=*/1);
      x = at::relu(at::group_norm(second, stage.groups, p[stage.norm2_weight], p[stage.norm2_bias]).add(h));
    }
    return at::linear(x.mean(at::IntArrayRef{2, 3}), p[fc_weight_], p[fc_bias_]);
  }

 private:
  const int64_t channels_;
  const int64_t height_;
  const int64_t width_;
  std::vector<Stage> stages_;
  size_t fc_weight_ = 0;
  size_t fc_bias_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::ConvNetModel& model, const optim::Layout& layout) {
  BlockFinder blocks(layout);
  auto network = std::make_unique<ConvNetwork>(model, blocks);
  TRIBUTARY_RETURN_IF_ERROR(blocks.status());
  return network;
}

}  // namespace tributary::worker
