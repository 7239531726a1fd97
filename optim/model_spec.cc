#include "optim/model_spec.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tributary::optim {
namespace {

constexpr int64_t kVocabulary = 256;
// Far above any model, and small enough that lists of layers stay short and products of two extents fit into 64 bits.
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxExtent = int64_t{1} << 28;
constexpr int64_t kMaxHeads = int64_t{1} << 20;  // times an extent, it fits too
constexpr int64_t kMaxSide = 1 << 16;            // of an image
constexpr int64_t kMaxChannels = 1 << 20;
constexpr int64_t kMaxSteps = 1'000'000;
constexpr int64_t kTimeFeatures = 64;

absl::Status CheckExtent(absl::string_view name, int64_t value, int64_t max) {
  if (value < 1 || value > max) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; allowed: 1 to ", max));
  }
  return absl::OkStatus();
}

absl::Status Check(const GptModel& gpt) {
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("gpt.layers", gpt.layers, kMaxLayers));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("gpt.width", gpt.width, kMaxExtent));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("gpt.heads", gpt.heads, kMaxExtent));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("gpt.context", gpt.context, kMaxExtent));
  if (gpt.width % gpt.heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("gpt.width is ", gpt.width, ", not a multiple of gpt.heads, which is ", gpt.heads));
  }
  return absl::OkStatus();
}

absl::Status Check(const MlpModel& mlp) {
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("mlp.inputs", mlp.inputs, kMaxExtent));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("mlp.outputs", mlp.outputs, kMaxExtent));
  if (mlp.hidden.size() > static_cast<size_t>(kMaxLayers)) {
    return absl::InvalidArgumentError(absl::StrCat("mlp.hidden has ", mlp.hidden.size(), " layers; allowed: up to ", kMaxLayers));
  }
  for (int64_t width : mlp.hidden) {
    TRIBUTARY_RETURN_IF_ERROR(CheckExtent("mlp.hidden", width, kMaxExtent));
  }
  if (mlp.task == MlpModel::Task::kValues && mlp.outputs != 1) {
    return absl::InvalidArgumentError(absl::StrCat("mlp.outputs is ", mlp.outputs, "; with task values it is 1"));
  }
  if (mlp.task == MlpModel::Task::kClasses && mlp.outputs < 2) {
    return absl::InvalidArgumentError("mlp.outputs is 1; classes to tell apart are at least 2 (or task: values, to predict a number)");
  }
  return absl::OkStatus();
}

absl::Status Check(const LlamaModel& llama) {
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("llama.vocab_size", llama.vocab_size, kMaxExtent));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("llama.hidden_size", llama.hidden_size, kMaxExtent));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("llama.intermediate_size", llama.intermediate_size, kMaxExtent));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("llama.num_hidden_layers", llama.num_hidden_layers, kMaxLayers));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("llama.num_attention_heads", llama.num_attention_heads, kMaxHeads));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("llama.num_key_value_heads", llama.num_key_value_heads, kMaxHeads));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("llama.head_dim", llama.head_dim, kMaxExtent));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("llama.context", llama.context, kMaxExtent));
  if (llama.num_attention_heads % llama.num_key_value_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("llama.num_attention_heads is ", llama.num_attention_heads,
                                                   ", not a multiple of llama.num_key_value_heads, which is ", llama.num_key_value_heads));
  }
  if (llama.head_dim % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("llama.head_dim is ", llama.head_dim, "; rotary embeddings turn pairs of numbers, so it must be even"));
  }
  return absl::OkStatus();
}

// Every stage after the first halves the image.
absl::Status CheckImages(absl::string_view model, int64_t least_side, int64_t channels, const std::vector<int64_t>& stages) {
  if (channels != 1 && channels != 3) {
    return absl::InvalidArgumentError(absl::StrCat(model, ".channels is ", channels, "; images have 1 (grey) or 3 (red, green, blue)"));
  }
  if (stages.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(model, ".stages is empty; it lists the channels of each stage"));
  }
  for (const int64_t width : stages) {
    TRIBUTARY_RETURN_IF_ERROR(CheckExtent(absl::StrCat(model, ".stages"), width, kMaxChannels));
    if (width < kLeastChannels) {
      return absl::InvalidArgumentError(
          absl::StrCat(model, ".stages is ", width, "; a stage has at least ", kLeastChannels, " channels, which are normalised together"));
    }
  }
  if (stages.size() > 30 || least_side >> (stages.size() - 1) == 0) {
    return absl::InvalidArgumentError(absl::StrCat(model, ".stages has ", stages.size(),
                                                   " stages, each at half the resolution of the one before; an image with a side of ",
                                                   least_side, " cannot be halved so often"));
  }
  return absl::OkStatus();
}

absl::Status Check(const ConvNetModel& convnet) {
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("convnet.height", convnet.height, kMaxSide));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("convnet.width", convnet.width, kMaxSide));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("convnet.outputs", convnet.outputs, kMaxExtent));
  return CheckImages("convnet", std::min(convnet.height, convnet.width), convnet.channels, convnet.stages);
}

absl::Status Check(const DdpmModel& ddpm) {
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("ddpm.size", ddpm.size, kMaxSide));
  TRIBUTARY_RETURN_IF_ERROR(CheckExtent("ddpm.steps", ddpm.steps, kMaxSteps));
  TRIBUTARY_RETURN_IF_ERROR(CheckImages("ddpm", ddpm.size, ddpm.channels, ddpm.stages));
  if (const int64_t halvings = int64_t{1} << (ddpm.stages.size() - 1); ddpm.size % halvings != 0) {
    return absl::InvalidArgumentError(absl::StrCat("ddpm.size is ", ddpm.size, ", not a multiple of ", halvings, ", which ",
                                                   ddpm.stages.size(), " stages need: each halves the image"));
  }
  return absl::OkStatus();
}

absl::Status Check(const CustomModel& custom) {
  for (const Block& block : custom.blocks) {
    for (const int64_t extent : block.shape) {
      TRIBUTARY_RETURN_IF_ERROR(CheckExtent(absl::StrCat("an extent of custom tensor '", block.name, "'"), extent, kMaxExtent));
    }
  }
  if (absl::c_all_of(custom.blocks, [](const Block& block) { return block.frozen; })) {
    return absl::InvalidArgumentError("custom.tensors: nothing in it is trained");
  }
  return absl::OkStatus();
}

std::vector<Block> BlocksOf(const GptModel& gpt) {
  const int64_t w = gpt.width;
  std::vector<Block> blocks;
  auto add = [&](std::string name, std::vector<int64_t> shape) {
    Block block;
    block.name = std::move(name);
    block.shape = std::move(shape);
    blocks.push_back(std::move(block));
  };
  add("wte", {kVocabulary, w});
  add("wpe", {gpt.context, w});
  for (int64_t i = 0; i < gpt.layers; ++i) {
    const std::string h = absl::StrCat("h.", i, ".");
    add(h + "ln1.weight", {w});
    add(h + "ln1.bias", {w});
    add(h + "attn.qkv.weight", {3 * w, w});
    add(h + "attn.qkv.bias", {3 * w});
    add(h + "attn.out.weight", {w, w});
    add(h + "attn.out.bias", {w});
    add(h + "ln2.weight", {w});
    add(h + "ln2.bias", {w});
    add(h + "mlp.up.weight", {4 * w, w});
    add(h + "mlp.up.bias", {4 * w});
    add(h + "mlp.down.weight", {w, 4 * w});
    add(h + "mlp.down.bias", {w});
  }
  add("lnf.weight", {w});
  add("lnf.bias", {w});
  return blocks;
}

std::vector<Block> BlocksOf(const MlpModel& mlp) {
  std::vector<Block> blocks;
  int64_t in = mlp.inputs;
  for (size_t i = 0; i <= mlp.hidden.size(); ++i) {
    const int64_t out = i < mlp.hidden.size() ? mlp.hidden[i] : mlp.outputs;
    Block weight;
    weight.name = absl::StrCat("fc.", i, ".weight");
    weight.shape = {out, in};
    Block bias;
    bias.name = absl::StrCat("fc.", i, ".bias");
    bias.shape = {out};
    blocks.push_back(std::move(weight));
    blocks.push_back(std::move(bias));
    in = out;
  }
  return blocks;
}

std::vector<Block> BlocksOf(const LlamaModel& llama) {
  const int64_t h = llama.hidden_size;
  const int64_t queries = llama.num_attention_heads * llama.head_dim;
  const int64_t keys = llama.num_key_value_heads * llama.head_dim;
  std::vector<Block> blocks;
  auto add = [&](std::string name, std::vector<int64_t> shape) {
    Block block;
    block.name = std::move(name);
    block.shape = std::move(shape);
    blocks.push_back(std::move(block));
  };
  add("model.embed_tokens.weight", {llama.vocab_size, h});
  for (int64_t i = 0; i < llama.num_hidden_layers; ++i) {
    const std::string layer = absl::StrCat("model.layers.", i, ".");
    add(layer + "self_attn.q_proj.weight", {queries, h});
    add(layer + "self_attn.k_proj.weight", {keys, h});
    add(layer + "self_attn.v_proj.weight", {keys, h});
    add(layer + "self_attn.o_proj.weight", {h, queries});
    add(layer + "mlp.gate_proj.weight", {llama.intermediate_size, h});
    add(layer + "mlp.up_proj.weight", {llama.intermediate_size, h});
    add(layer + "mlp.down_proj.weight", {h, llama.intermediate_size});
    add(layer + "input_layernorm.weight", {h});
    add(layer + "post_attention_layernorm.weight", {h});
  }
  add("model.norm.weight", {h});
  if (llama.head == LlamaModel::Head::kOwn) {
    add("lm_head.weight", {llama.vocab_size, h});
  }
  return blocks;
}

// Lists blocks.
class BlockList {
 public:
  void Add(std::string name, std::vector<int64_t> shape) {
    Block block;
    block.name = std::move(name);
    block.shape = std::move(shape);
    blocks_.push_back(std::move(block));
  }
  // `name`.weight of `shape`, and a bias for each of its first extent.
  void AddAffine(const std::string& name, const std::vector<int64_t>& shape) {
    Add(name + ".weight", shape);
    Add(name + ".bias", {shape[0]});
  }
  std::vector<Block> Take() { return std::move(blocks_); }

 private:
  std::vector<Block> blocks_;
};

std::vector<Block> BlocksOf(const ConvNetModel& convnet) {
  BlockList blocks;
  int64_t in = convnet.channels;
  for (size_t i = 0; i < convnet.stages.size(); ++i) {
    const int64_t out = convnet.stages[i];
    const std::string stage = absl::StrCat("s.", i, ".");
    blocks.Add(stage + "conv1.weight", {out, in, 3, 3});
    blocks.AddAffine(stage + "norm1", {out});
    blocks.Add(stage + "conv2.weight", {out, out, 3, 3});
    blocks.AddAffine(stage + "norm2", {out});
    in = out;
  }
  blocks.AddAffine("fc", {convnet.outputs, in});
  return blocks.Take();
}

std::vector<Block> BlocksOf(const DdpmModel& ddpm) {
  const std::vector<int64_t>& stages = ddpm.stages;
  const int64_t embedding = 4 * stages.front();
  BlockList blocks;
  const auto add_residual = [&](const std::string& name, int64_t in, int64_t out) {
    blocks.AddAffine(name + ".norm1", {in});
    blocks.Add(name + ".conv1.weight", {out, in, 3, 3});
    blocks.AddAffine(name + ".time", {out, embedding});
    blocks.AddAffine(name + ".norm2", {out});
    blocks.AddAffine(name + ".conv2", {out, out, 3, 3});
    if (in != out) {
      blocks.Add(name + ".skip.weight", {out, in, 1, 1});
    }
  };
  blocks.AddAffine("time.0", {embedding, kTimeFeatures});
  blocks.AddAffine("time.1", {embedding, embedding});
  blocks.AddAffine("in", {stages.front(), ddpm.channels, 3, 3});
  for (size_t i = 0; i < stages.size(); ++i) {
    add_residual(absl::StrCat("down.", i), stages[i == 0 ? 0 : i - 1], stages[i]);
  }
  add_residual("mid", stages.back(), stages.back());
  for (size_t i = stages.size(); i-- > 0;) {
    add_residual(absl::StrCat("up.", i), stages[std::min(i + 1, stages.size() - 1)] + stages[i], stages[i]);
  }
  blocks.AddAffine("norm", {stages.front()});
  blocks.AddAffine("out", {ddpm.channels, stages.front(), 3, 3});
  return blocks.Take();
}

std::vector<Block> BlocksOf(const CustomModel& custom) {
  return custom.blocks;
}

// What a block starts as: zeros, ones, or normal-like values of this standard deviation.
enum class Fill { kZero, kOne, kRandom };
struct Start {
  Fill fill = Fill::kZero;
  double deviation = 0;
};

Start StartOf(const GptModel& gpt, const Block& block) {
  if (absl::EndsWith(block.name, ".bias")) {
    return {Fill::kZero};
  }
  if (block.shape.size() == 1) {
    return {Fill::kOne};  // a norm's weight
  }
  const bool into_residual = absl::EndsWith(block.name, "attn.out.weight") || absl::EndsWith(block.name, "mlp.down.weight");
  return {Fill::kRandom, into_residual ? 0.02 / std::sqrt(2.0 * static_cast<double>(gpt.layers)) : 0.02};
}

Start StartOf(const MlpModel&, const Block& block) {
  if (block.shape.size() == 1) {
    return {Fill::kZero};
  }
  return {Fill::kRandom, std::sqrt(2.0 / static_cast<double>(block.shape[1]))};
}

Start StartOf(const LlamaModel& llama, const Block& block) {
  if (block.shape.size() == 1) {
    return {Fill::kOne};
  }
  const bool into_residual = absl::EndsWith(block.name, "o_proj.weight") || absl::EndsWith(block.name, "down_proj.weight");
  return {Fill::kRandom, into_residual ? 0.02 / std::sqrt(2.0 * static_cast<double>(llama.num_hidden_layers)) : 0.02};
}

// Norms 1, biases 0, the weights of linear layers and convolutions by what goes into each output (He et al., arXiv 1502.01852).
Start StartOfImageModel(const Block& block) {
  if (absl::EndsWith(block.name, ".bias")) {
    return {Fill::kZero};
  }
  if (block.shape.size() == 1) {
    return {Fill::kOne};
  }
  const int64_t inputs = std::accumulate(block.shape.begin() + 1, block.shape.end(), int64_t{1}, std::multiplies<>());
  return {Fill::kRandom, std::sqrt(2.0 / static_cast<double>(inputs))};
}

Start StartOf(const ConvNetModel&, const Block& block) {
  return StartOfImageModel(block);
}

Start StartOf(const DdpmModel&, const Block& block) {
  if (absl::EndsWith(block.name, ".conv2.weight") || block.name == "out.weight") {
    return {Fill::kZero};
  }
  return StartOfImageModel(block);
}

Start StartOf(const CustomModel&, const Block&) {
  return {};
}

SampleShape ShapeOf(const GptModel& gpt) {
  return TextWindows{.context = gpt.context};
}

SampleShape ShapeOf(const MlpModel& mlp) {
  if (mlp.task == MlpModel::Task::kValues) {
    return ValueRows{.inputs = mlp.inputs};
  }
  return TableRows{.inputs = mlp.inputs, .outputs = mlp.outputs};
}

SampleShape ShapeOf(const LlamaModel& llama) {
  return TokenWindows{.context = llama.context, .vocabulary = llama.vocab_size};
}

SampleShape ShapeOf(const ConvNetModel& convnet) {
  return Images{.height = convnet.height, .width = convnet.width, .channels = convnet.channels, .classes = convnet.outputs};
}

SampleShape ShapeOf(const DdpmModel& ddpm) {
  return Images{.height = ddpm.size, .width = ddpm.size, .channels = ddpm.channels, .classes = 0};
}

SampleShape ShapeOf(const CustomModel&) {
  return OwnSamples{};
}

// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;

// Element i of a block is a function of (seed, block index, i) alone: the sum of the four 16-bit fields of one mixed word, centred at zero
// and doubled to stay an integer. |sum| <= 4 * 65535 is exact in fp32, so each value is one rounded product.
void FillRandom(uint64_t seed, uint64_t block_index, double deviation, absl::Span<float> values) {
  const uint64_t key = Mix(Mix(seed + kGolden) + (block_index + 1) * kGolden);
  // Deviation of the doubled sum of four uniform integers in [0, 65535]: 2 * sqrt(4 * (65536^2 - 1) / 12).
  const double unit = 2.0 * std::sqrt((65536.0 * 65536.0 - 1.0) / 3.0);
  const float scale = static_cast<float>(deviation / unit);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t word = Mix(key + (i + 1) * kGolden);
    const int32_t sum = static_cast<int32_t>((word & 0xffff) + ((word >> 16) & 0xffff) + ((word >> 32) & 0xffff) + (word >> 48));
    values[i] = static_cast<float>(2 * sum - 4 * 65535) * scale;
  }
}

}  // namespace

int64_t NormGroups(int64_t channels) {
  for (int64_t groups = 8; groups > 1; --groups) {
    if (channels % groups == 0 && channels / groups >= kLeastChannels) {
      return groups;
    }
  }
  return 1;
}

SampleShape SampleShapeOf(const ModelSpec& model) {
  return std::visit([](const auto& m) { return ShapeOf(m); }, model);
}

absl::StatusOr<Layout> MakeLayout(const ModelSpec& model) {
  return std::visit(
      [](const auto& m) -> absl::StatusOr<Layout> {
        TRIBUTARY_RETURN_IF_ERROR(Check(m));
        return Layout::Create(BlocksOf(m));
      },
      model);
}

absl::Status InitializeWeights(const ModelSpec& model, uint64_t seed, const Layout& layout, absl::Span<float> theta) {
  if (theta.size() != static_cast<size_t>(layout.size())) {
    return absl::InvalidArgumentError(absl::StrCat("theta has ", theta.size(), " elements, the layout ", layout.size()));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const Layout expected, MakeLayout(model));
  if (layout.hash() != expected.hash()) {
    return absl::InvalidArgumentError("the layout is not that of the model");
  }
  if (std::holds_alternative<CustomModel>(model)) {
    return absl::InvalidArgumentError("a custom model has no seeded weights; name a file as model.initial_weights");
  }
  for (size_t b = 0; b < layout.blocks().size(); ++b) {
    const Block& block = layout.blocks()[b];
    const absl::Span<float> values = theta.subspan(block.offset, block.size);
    const Start start = std::visit([&](const auto& m) { return StartOf(m, block); }, model);
    switch (start.fill) {
      case Fill::kZero:
      case Fill::kOne:
        std::fill(values.begin(), values.end(), start.fill == Fill::kOne ? 1.0f : 0.0f);
        break;
      case Fill::kRandom:
        FillRandom(seed, b, start.deviation, values);
        break;
    }
  }
  return absl::OkStatus();
}

}  // namespace tributary::optim
