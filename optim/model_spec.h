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

// Convolutions over images, each stage at half the resolution of the one before (rounded up), then the mean over the image, and a linear
// layer. A stage is h = relu(norm1(conv1(x))); x = relu(norm2(conv2(h)) + h): 3x3 convolutions with a border of zeros and no bias, the
// first one of every stage but the first with stride 2; norms over groups of NormGroups(channels).
// Blocks, in order: for each stage i with C_i channels (C_-1: those of the image):
//   s.i.conv1.weight [C_i, C_i-1, 3, 3], s.i.norm1.weight [C_i], s.i.norm1.bias [C_i],
//   s.i.conv2.weight [C_i, C_i, 3, 3], s.i.norm2.weight [C_i], s.i.norm2.bias [C_i],
// fc.weight [outputs, C_last], fc.bias [outputs].
// Source: residual stages as He et al., arXiv 1512.03385; group normalisation, which needs no statistics of a batch, and so none that sites
// would have to share: Wu and He, arXiv 1803.08494.
struct ConvNetModel {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 3;  // 1 (grey) or 3 (red, green, blue)
  std::vector<int64_t> stages;
  int64_t outputs = 0;
};

// Denoising diffusion (Ho, Jain, Abbeel, arXiv 2006.11239): a U-Net predicts the noise e of x_t = sqrt(a_t) x + sqrt(1 - a_t) e; its loss
// is the mean squared error of a value of e, over steps t that are drawn evenly. a_t falls as a cosine (worker/models/noise_schedule.h).
// Without attention: at 8x8 to 32x32 the lowest resolution sees the whole image. res(i -> o): h = conv1(silu(norm1(x))) + time(silu(t));
// conv2(silu(norm2(h))) + skip(x); 3x3 convolutions with a border of zeros; skip is the identity where i = o. t: 64 sines and cosines of
// the step, through time.0, silu and time.1. Downwards: `in`, then down.i at each resolution, means of 2x2 between; mid at the lowest;
// upwards: up.i of what comes from below, doubled, and of down.i's output, one after the other; last norm, silu and `out`. Blocks, in order
// (E = 4 C_0; R(i, o) is: .norm1.weight [i], .norm1.bias [i], .conv1.weight [o, i, 3, 3], .time.weight [o, E], .time.bias [o],
// .norm2.weight [o], .norm2.bias [o], .conv2.weight [o, o, 3, 3], .conv2.bias [o], and unless i = o .skip.weight [o, i, 1, 1]):
//   time.0.weight [E, 64], time.0.bias [E], time.1.weight [E, E], time.1.bias [E], in.weight [C_0, channels, 3, 3], in.bias [C_0],
//   for each stage i upwards: down.i R(C_i-1, C_i) (C_-1: C_0); mid R(C_last, C_last);
//   for each stage i downwards: up.i R(C_i+1 + C_i, C_i) (C_last+1: C_last),
//   norm.weight [C_0], norm.bias [C_0], out.weight [channels, C_0, 3, 3], out.bias [channels].
struct DdpmModel {
  int64_t size = 0;      // images are size x size
  int64_t channels = 3;  // 1 (grey) or 3 (red, green, blue)
  std::vector<int64_t> stages;
  int64_t steps = 1000;
};

// Channels of a stage of an image model, and of a group in which they are normalised. Of a single one, a norm would take away what is the
// same all over an image: the step of diffusion that was added to it, and at 1 x 1 everything.
inline constexpr int64_t kLeastChannels = 4;
// Groups in which so many channels are normalised: the most, up to 8, that divide them and have kLeastChannels each; else 1.
int64_t NormGroups(int64_t channels);

// A model that the sites' own programs compute: its blocks are all that is known of it. It has no seeded weights.
struct CustomModel {
  std::vector<Block> blocks;
};

// The kinds of model. Whoever must tell them apart visits the variant, so that a kind that is missing does not compile; docs/recipes.md
// says how to add one.
using ModelSpec = std::variant<GptModel, MlpModel, CustomModel, LlamaModel, ConvNetModel, DdpmModel>;

// What the model reads of the data, which says what kinds of data it learns from.
SampleShape SampleShapeOf(const ModelSpec& model);

// InvalidArgument: an extent below 1, or a width that heads do not divide; of a custom model also Layout::Create's, and no parameters.
absl::StatusOr<Layout> MakeLayout(const ModelSpec& model);

// Writes the seeded initial weights of `model` to theta [layout.size()].
// Every value is a sum of integers from a counter-based generator times one fp32 constant, so that all machines get the same bits
// (a libm logarithm or cosine would not promise that). GPT-2's scheme, also for llama: standard deviation .02, residual projections
// (attn.out, mlp.down; o_proj, down_proj) divided by sqrt(2 * layers), norms 1, biases 0. The others: standard deviation sqrt(2 / fan_in),
// norms 1, biases 0; of a ddpm conv2 and out are 0, so that its blocks begin as the identity and its prediction as 0.
// InvalidArgument: theta or layout of another model; a custom model.
absl::Status InitializeWeights(const ModelSpec& model, uint64_t seed, const Layout& layout, absl::Span<float> theta);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_MODEL_SPEC_H_
