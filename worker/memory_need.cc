#include "worker/memory_need.h"

#include <algorithm>
#include <limits>
#include <variant>

#include "optim/encoder.h"
#include "optim/modes.h"

namespace tributary::worker {
namespace {

// Numbers that the backward pass of one sample reads, at least. In double, as are their bytes: extents are each within bounds, and their
// products are not, within 64 bits.
double ActivationsOf(const optim::GptModel& gpt) {
  // Of a token in a layer: two norms, queries, keys and values, attention, the two halves of the perceptron; and its row of scores.
  const auto context = static_cast<double>(gpt.context);
  const double token = static_cast<double>(gpt.layers) * (14.0 * static_cast<double>(gpt.width) + static_cast<double>(gpt.heads) * context);
  return context * (token + 2 * 256);
}

double ActivationsOf(const optim::LlamaModel& llama) {
  // Of a token in a layer: two norms and what they sum up, queries and keys before and after they are turned, values, attention, and of the
  // perceptron gate, its activation, up and their product; and its row of scores. Of a token: logits, logarithms of probabilities, and the
  // gradients of both.
  const auto number = [](int64_t extent) { return static_cast<double>(extent); };
  const double heads = number(llama.num_attention_heads);
  const double projected = (3 * heads + 3 * number(llama.num_key_value_heads)) * number(llama.head_dim);
  const double layer = 6 * number(llama.hidden_size) + projected + 4 * number(llama.intermediate_size) + heads * number(llama.context);
  return number(llama.context) * (number(llama.num_hidden_layers) * layer + 4 * number(llama.vocab_size));
}

double ActivationsOf(const optim::MlpModel& mlp) {
  double numbers = static_cast<double>(mlp.inputs) + 2 * static_cast<double>(mlp.outputs);
  for (const int64_t width : mlp.hidden) {
    numbers += 2 * static_cast<double>(width);
  }
  return numbers;
}

// Of residual stages at halved resolutions: two convolutions, two norms and what the activations between them keep.
double ActivationsOf(const optim::ConvNetModel& convnet) {
  int64_t height = convnet.height;
  int64_t width = convnet.width;
  double numbers = static_cast<double>(height) * static_cast<double>(width) * static_cast<double>(convnet.channels);
  for (size_t i = 0; i < convnet.stages.size(); ++i) {
    if (i > 0) {
      height = (height + 1) / 2;
      width = (width + 1) / 2;
    }
    numbers += 6 * static_cast<double>(height) * static_cast<double>(width) * static_cast<double>(convnet.stages[i]);
  }
  return numbers;
}

// Each resolution has a block downwards and one upwards, which reads twice as many channels.
double ActivationsOf(const optim::DdpmModel& ddpm) {
  double pixels = static_cast<double>(ddpm.size) * static_cast<double>(ddpm.size);
  double numbers = 2 * pixels * static_cast<double>(ddpm.channels);
  for (const int64_t width : ddpm.stages) {
    numbers += 14 * pixels * static_cast<double>(width);
    pixels /= 4;
  }
  return numbers;
}

// Its program's own matter.
double ActivationsOf(const optim::CustomModel&) {
  return 0;
}

// Numbers that the backward pass holds besides, whatever the batch.
template <typename Model>
double HeldOnceOf(const Model&) {
  return 0;
}

// The mask of a group's scores, and the second gradient of an embedding that is the head, too.
double HeldOnceOf(const optim::LlamaModel& llama) {
  const auto context = static_cast<double>(llama.context);
  const int64_t heads_of_group = llama.num_attention_heads / llama.num_key_value_heads;
  const auto group = static_cast<double>(heads_of_group);
  const bool tied = llama.head == optim::LlamaModel::Head::kTied;
  return group * context * context + (tied ? static_cast<double>(llama.vocab_size) * static_cast<double>(llama.hidden_size) : 0);
}

// At most UINT64_MAX.
uint64_t BytesOf(double numbers) {
  const double bytes = numbers * sizeof(float);
  return bytes < 0x1p64 ? static_cast<uint64_t>(bytes) : std::numeric_limits<uint64_t>::max();
}

}  // namespace

MemoryNeed MemoryToTrain(const optim::ModelSpec& model, const optim::OptimizerOptions& optimizer, const optim::Layout& layout,
                         uint32_t batch_size, Pipelining pipelining) {
  const uint64_t vector = static_cast<uint64_t>(layout.size()) * sizeof(float);
  const optim::ModeTraits& mode = optim::TraitsOf(optimizer.mode);
  const uint64_t state = vector * (1 + static_cast<uint64_t>(mode.slots));
  const bool sparse = mode.family == optim::Family::kFloatComponents || mode.family == optim::Family::kLevels;
  const uint64_t residual = sparse ? vector : 0;
  const bool local = mode.direction == optim::Direction::kPseudoGradient;
  const uint64_t moments = local ? 2 * vector : 0;  // they persist
  const uint64_t update = optim::MaxPayloadBytes(optimizer, layout).update;
  const uint64_t activations =
      BytesOf(std::visit([&](const auto& kind) { return ActivationsOf(kind) * batch_size + HeldOnceOf(kind); }, model));
  MemoryNeed need{{{"model state", state},
                   {"state before", pipelining == Pipelining::kOn ? vector + moments : 0},
                   {"gradient", vector},
                   {"residual", residual},
                   {"local optimiser", local ? 2 * vector + moments : 0},
                   {"update", update}}};
  // What is saved of residual, moments and update is put together in memory. It is not there while a snapshot is read, nor during a step.
  const uint64_t saved = residual + moments + update;
  const uint64_t most = std::max({saved, state, activations});
  need.terms.push_back({most == activations ? "activations" : most == saved ? "saved state" : "snapshot", most});
  return need;
}

}  // namespace tributary::worker
