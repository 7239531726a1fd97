// The models' parameter layouts and seeded initial weights, without a tensor library: the coordinator knows every block of a model
// that only workers can run. worker/models/ builds the same blocks in LibTorch and checks that names and shapes agree.
#ifndef TRIBUTARY_OPTIM_MODEL_SPEC_H_
#define TRIBUTARY_OPTIM_MODEL_SPEC_H_

#include <cstdint>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "optim/data_kind.h"
#include "optim/layout.h"

namespace tributary::optim {

// Byte-level decoder-only transformer, pre-norm, learned positions, output tied to the embedding.
// Blocks, in order (W = width, C = context, V = 256):
//   wte [V, W], wpe [C, W],
//   for each layer i: h.i.ln1.weight [W], h.i.ln1.bias [W], h.i.attn.qkv.weight [3W, W], h.i.attn.qkv.bias [3W],
//     h.i.attn.out.weight [W, W], h.i.attn.out.bias [W], h.i.ln2.weight [W], h.i.ln2.bias [W],
//     h.i.mlp.up.weight [4W, W], h.i.mlp.up.bias [4W], h.i.mlp.down.weight [W, 4W], h.i.mlp.down.bias [W],
//   lnf.weight [W], lnf.bias [W]
struct GptModel {
  int64_t layers = 5;
  int64_t heads = 4;
  int64_t width = 128;
  int64_t context = 64;
};

// Linear layers with GELU between. Blocks: for layer i: fc.i.weight [out, in], fc.i.bias [out].
struct MlpModel {
  enum class Task { kClasses, kValues };  // kValues: it predicts a number, and `outputs` is 1
  int64_t inputs = 0;
  std::vector<int64_t> hidden;
  int64_t outputs = 0;
  Task task = Task::kClasses;
};

// Decoder-only transformer in the manner of Llama: RMSNorm, rotary embeddings, grouped-query attention, SwiGLU, no biases. Extents and
// blocks are named as in its Hugging Face folder. Blocks, in order (V = vocab_size, H = hidden_size, I = intermediate_size, A =
// num_attention_heads, K = num_key_value_heads, D = head_dim):
//   model.embed_tokens.weight [V, H],
//   for each layer i, with model.layers.i. before them all: self_attn.q_proj.weight [A D, H], self_attn.k_proj.weight [K D, H],
//     self_attn.v_proj.weight [K D, H], self_attn.o_proj.weight [H, A D], mlp.gate_proj.weight [I, H], mlp.up_proj.weight [I, H],
//     mlp.down_proj.weight [H, I], input_layernorm.weight [H], post_attention_layernorm.weight [H],
//   model.norm.weight [H], and lm_head.weight [V, H] unless the output is the embedding, transposed.
struct LlamaModel {
  enum class Head { kOwn, kTied };
  int64_t vocab_size = 256;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  Head head = Head::kOwn;
  int64_t context = 0;
};

// A model that the sites' own programs compute: its blocks are all that is known of it. It has no seeded weights.
struct CustomModel {
  std::vector<Block> blocks;
};

// The kinds of model. Whoever must tell them apart visits the variant, so that a kind that is missing does not compile; docs/recipes.md
// says how to add one.
using ModelSpec = std::variant<GptModel, MlpModel, CustomModel, LlamaModel>;

// What the model reads of the data, which says what kinds of data it learns from.
SampleShape SampleShapeOf(const ModelSpec& model);

// InvalidArgument: an extent below 1, or a width that heads do not divide; of a custom model also Layout::Create's, and no parameters.
absl::StatusOr<Layout> MakeLayout(const ModelSpec& model);

// Writes the seeded initial weights of `model` to theta [layout.size()].
// Every value is a sum of integers from a counter-based generator times one fp32 constant, so that all machines get the same bits
// (a libm logarithm or cosine would not promise that). GPT-2's scheme, also for llama: standard deviation .02, residual projections
// (attn.out, mlp.down; o_proj, down_proj) divided by sqrt(2 * layers), norms 1, biases 0; MLP: standard deviation sqrt(2 / fan_in), biases
// 0. InvalidArgument: theta or layout of another model; a custom model.
absl::Status InitializeWeights(const ModelSpec& model, uint64_t seed, const Layout& layout, absl::Span<float> theta);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_MODEL_SPEC_H_
