// Byte-level decoder-only transformer. Shapes in comments: N rows, T positions, W width, A heads, D = W / A.
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/triu.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/models/network.h"

namespace tributary::worker {
namespace {

constexpr int64_t kVocabulary = 256;
constexpr double kNormEpsilon = 1e-5;

// Places of a weight and its bias among the parameters.
struct Affine {
  size_t weight = 0;
  size_t bias = 0;
};

struct Layer {
  Affine ln1, qkv, out, ln2, up, down;
};

class GptNetwork final : public Network {
 public:
  GptNetwork(const optim::GptModel& model, BlockFinder& blocks)
      : heads_(model.heads), width_(model.width), context_(model.context), layers_(static_cast<size_t>(model.layers)) {
    const int64_t w = width_;
    auto find = [&blocks](const std::string& name, const std::vector<int64_t>& weight_shape) {
      return Affine{blocks.Find(name + ".weight", weight_shape), blocks.Find(name + ".bias", {weight_shape[0]})};
    };
    wte_ = blocks.Find("wte", {kVocabulary, w});
    wpe_ = blocks.Find("wpe", {context_, w});
    for (size_t i = 0; i < layers_.size(); ++i) {
      const std::string h = absl::StrCat("h.", i, ".");
      layers_[i] = {find(h + "ln1", {w}), find(h + "attn.qkv", {3 * w, w}), find(h + "attn.out", {w, w}),
                    find(h + "ln2", {w}), find(h + "mlp.up", {4 * w, w}),   find(h + "mlp.down", {w, 4 * w})};
    }
    lnf_ = find("lnf", {w});
    mask_ = at::full({1, context_, context_}, -std::numeric_limits<float>::infinity(), at::kFloat).triu(1);
  }

  absl::Status CheckInputs(const Batch& batch) const override {
    const int64_t tokens = static_cast<int64_t>(batch.tokens.size());
    if (batch.rows < 1 || tokens < batch.rows || tokens % batch.rows != 0 || tokens / batch.rows > context_) {
      return absl::InvalidArgumentError(
          absl::StrCat("a text batch of ", batch.rows, " rows and ", tokens, " tokens does not fit a model with a context of ", context_));
    }
    return absl::OkStatus();
  }

  at::Tensor Outputs(absl::Span<const at::Tensor> p, const Batch& batch) const override {
    const int64_t rows = batch.rows;
    const int64_t length = static_cast<int64_t>(batch.tokens.size()) / rows;
    const at::Tensor tokens = at::from_blob(const_cast<int64_t*>(batch.tokens.data()), {rows, length}, at::kLong);
    at::Tensor x = at::embedding(p[wte_], tokens).add(p[wpe_].narrow(0, 0, length)).view({rows * length, width_});  // [N T, W]
    for (const Layer& layer : layers_) {
      x = x.add(Attention(p, layer, Norm(p, layer.ln1, x), rows, length));
      const at::Tensor hidden = at::gelu(Linear(p, layer.up, Norm(p, layer.ln2, x)));  // [N T, 4 W]
      x = x.add(Linear(p, layer.down, hidden));
    }
    return at::linear(Norm(p, lnf_, x), p[wte_]);  // tied output, [N T, V]
  }

 private:
  at::Tensor Norm(absl::Span<const at::Tensor> p, const Affine& place, const at::Tensor& x) const {
    return at::layer_norm(x, {width_}, p[place.weight], p[place.bias], kNormEpsilon);
  }

  static at::Tensor Linear(absl::Span<const at::Tensor> p, const Affine& place, const at::Tensor& x) {
    return at::linear(x, p[place.weight], p[place.bias]);
  }

  // x [N T, W] -> [N T, W]
  at::Tensor Attention(absl::Span<const at::Tensor> p, const Layer& layer, const at::Tensor& x, int64_t rows, int64_t length) const {
    const int64_t depth = width_ / heads_;
    const std::vector<at::Tensor> qkv = Linear(p, layer.qkv, x)
                                            .view({rows, length, 3, heads_, depth})
                                            .permute({2, 0, 3, 1, 4})
                                            .reshape({3, rows * heads_, length, depth})
                                            .unbind(0);  // each [N A, T, D]
    const at::Tensor mask = mask_.narrow(1, 0, length).narrow(2, 0, length);
    const double scale = 1.0 / std::sqrt(static_cast<double>(depth));
    const at::Tensor attention = at::softmax(at::baddbmm(mask, qkv[0], qkv[1].transpose(1, 2), 1.0, scale), -1);  // [N A, T, T]
    const at::Tensor mixed =
        at::bmm(attention, qkv[2]).view({rows, heads_, length, depth}).transpose(1, 2).reshape({rows * length, width_});
    return Linear(p, layer.out, mixed);
  }

  const int64_t heads_;
  const int64_t width_;
  const int64_t context_;
  size_t wte_ = 0;
  size_t wpe_ = 0;
  std::vector<Layer> layers_;
  Affine lnf_;
  at::Tensor mask_;  // [1, C, C]: -inf above the diagonal, so that no position sees a later one
};

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::GptModel& model, const optim::Layout& layout) {
  BlockFinder blocks(layout);
  auto network = std::make_unique<GptNetwork>(model, blocks);
  TRIBUTARY_RETURN_IF_ERROR(blocks.status());
  return network;
}

}  // namespace tributary::worker
