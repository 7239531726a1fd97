// Decoder-only transformer in the manner of Llama, with the numbers of Hugging Face's: tests/golden/llama_reference.py compares them.
// Shapes in comments: N rows, T positions, H hidden_size, A heads of queries, K of keys and values, G = A / K, D = head_dim.
#include <ATen/ops/arange.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/softmax.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/models/network.h"

namespace tributary::worker {
namespace {

struct Layer {
  size_t q, k, v, o, gate, up, down, attention_norm, mlp_norm;
};

// What all layers share for sequences of one length.
struct Positions {
  at::Tensor cos, sin;  // [T, 1, D / 2]
  at::Tensor mask;      // [1, G T, T]: -inf where a position would see a later one
};

class LlamaNetwork final : public Network {
 public:
  LlamaNetwork(const optim::LlamaModel& model, BlockFinder& blocks)
      : model_(model),
        groups_(model.num_attention_heads / model.num_key_value_heads),
        layers_(static_cast<size_t>(model.num_hidden_layers)) {
    const int64_t h = model.hidden_size;
    const int64_t queries = model.num_attention_heads * model.head_dim;
    const int64_t keys = model.num_key_value_heads * model.head_dim;
    embedding_ = blocks.Find("model.embed_tokens.weight", {model.vocab_size, h});
    for (size_t i = 0; i < layers_.size(); ++i) {
      const auto find = [&](const char* name, const std::vector<int64_t>& shape) {
        return blocks.Find(absl::StrCat("model.layers.", i, ".", name, ".weight"), shape);
      };
      layers_[i] = {.q = find("self_attn.q_proj", {queries, h}),
                    .k = find("self_attn.k_proj", {keys, h}),
                    .v = find("self_attn.v_proj", {keys, h}),
                    .o = find("self_attn.o_proj", {h, queries}),
                    .gate = find("mlp.gate_proj", {model.intermediate_size, h}),
                    .up = find("mlp.up_proj", {model.intermediate_size, h}),
                    .down = find("mlp.down_proj", {h, model.intermediate_size}),
                    .attention_norm = find("input_layernorm", {h}),
                    .mlp_norm = find("post_attention_layernorm", {h})};
    }
    norm_ = blocks.Find("model.norm.weight", {h});
    head_ = model.head == optim::LlamaModel::Head::kTied ? embedding_ : blocks.Find("lm_head.weight", {model.vocab_size, h});
  }

  absl::Status CheckInputs(const Batch& batch) const override {
    const int64_t tokens = static_cast<int64_t>(batch.tokens.size());
    if (batch.rows < 1 || tokens < batch.rows || tokens % batch.rows != 0 || tokens / batch.rows > model_.context) {
      return absl::InvalidArgumentError(
          absl::StrCat("a batch of ", batch.rows, " rows and ", tokens, " tokens does not fit a model with a context of ", model_.context));
    }
    return absl::OkStatus();
  }

  // [N T, vocab_size]
  at::Tensor Outputs(absl::Span<const at::Tensor> p, const Batch& batch) const override {
    const int64_t rows = batch.rows;
    const int64_t length = static_cast<int64_t>(batch.tokens.size()) / rows;
    const Positions positions = PositionsOf(length);
    const at::Tensor tokens = at::from_blob(const_cast<int64_t*>(batch.tokens.data()), {rows * length}, at::kLong);
    at::Tensor x = at::embedding(p[embedding_], tokens);  // [N T, H]
    for (const Layer& layer : layers_) {
      x = x.add(Attention(p, layer, Norm(x, p[layer.attention_norm]), positions, rows, length));
      const at::Tensor read = Norm(x, p[layer.mlp_norm]);
      x = x.add(at::linear(at::silu(at::linear(read, p[layer.gate])).mul(at::linear(read, p[layer.up])), p[layer.down]));
    }
    return at::linear(Norm(x, p[norm_]), p[head_]);
  }

 private:
  at::Tensor Norm(const at::Tensor& x, const at::Tensor& weight) const {
    return x.mul(at::rsqrt(x.square().mean(-1, /*keepdim=*/true).add(model_.rms_norm_eps))).mul(weight);
  }

  // The angles are rounded to fp32 where Hugging Face's are.
  Positions PositionsOf(int64_t length) const {
    const at::Tensor exponents = at::arange(0, model_.head_dim, 2, at::kFloat).div(static_cast<double>(model_.head_dim));
    const at::Tensor frequencies = at::pow(model_.rope_theta, exponents).reciprocal();
    const at::Tensor angles = at::arange(length, at::kFloat).unsqueeze(1).mul(frequencies).unsqueeze(1);
    const at::Tensor mask = at::full({length, length}, -std::numeric_limits<float>::infinity(), at::kFloat).triu(1);
    return {angles.cos(), angles.sin(), mask.repeat({groups_, 1}).unsqueeze(0)};
  }

  // x [N, T, heads, D]: turns the pairs (x[i], x[i + D / 2]).
  static at::Tensor Rotated(const at::Tensor& x, const Positions& positions) {
    const int64_t half = x.size(-1) / 2;
    const at::Tensor first = x.narrow(-1, 0, half);
    const at::Tensor second = x.narrow(-1, half, half);
    return at::cat({first.mul(positions.cos).sub(second.mul(positions.sin)), second.mul(positions.cos).add(first.mul(positions.sin))}, -1);
  }

  // x [N T, H] -> [N T, H]. The queries of a group lie one after the other before the keys that they share.
  at::Tensor Attention(absl::Span<const at::Tensor> p, const Layer& layer, const at::Tensor& x, const Positions& positions, int64_t rows,
                       int64_t length) const {
    const int64_t shared = model_.num_key_value_heads;
    const int64_t depth = model_.head_dim;
    const at::Tensor q = Rotated(at::linear(x, p[layer.q]).view({rows, length, shared * groups_, depth}), positions)
                             .view({rows, length, shared, groups_, depth})
                             .permute({0, 2, 3, 1, 4})
                             .reshape({rows * shared, groups_ * length, depth});  // [N K, G T, D]
    const at::Tensor k = Rotated(at::linear(x, p[layer.k]).view({rows, length, shared, depth}), positions)
                             .transpose(1, 2)
                             .reshape({rows * shared, length, depth});  // [N K, T, D]
    const at::Tensor v =
        at::linear(x, p[layer.v]).view({rows, length, shared, depth}).transpose(1, 2).reshape({rows * shared, length, depth});
    const double scale = 1.0 / std::sqrt(static_cast<double>(depth));
    const at::Tensor attention = at::softmax(at::baddbmm(positions.mask, q, k.transpose(1, 2), 1.0, scale), -1);  // [N K, G T, T]
    const at::Tensor mixed = at::bmm(attention, v)
                                 .view({rows, shared, groups_, length, depth})
                                 .permute({0, 3, 1, 2, 4})
                                 .reshape({rows * length, shared * groups_ * depth});
    return at::linear(mixed, p[layer.o]);
  }

  const optim::LlamaModel model_;
  const int64_t groups_;
  size_t embedding_ = 0;
  std::vector<Layer> layers_;
  size_t norm_ = 0;
  size_t head_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::LlamaModel& model, const optim::Layout& layout) {
  BlockFinder blocks(layout);
  auto network = std::make_unique<LlamaNetwork>(model, blocks);
  TRIBUTARY_RETURN_IF_ERROR(blocks.status());
  return network;
}

}  // namespace tributary::worker
