#include "worker/memory_need.h"

#include <algorithm>
#include <variant>

#include "optim/encoder.h"
#include "optim/modes.h"

namespace tributary::worker {
namespace {

// Numbers that the backward pass of one sample reads, at least.
uint64_t ActivationsOf(const optim::GptModel& gpt) {
  // Of a token in a layer: two norms, queries, keys and values, attention, the two halves of the perceptron; and its row of scores.
  const auto width = static_cast<uint64_t>(gpt.width);
  const uint64_t token = static_cast<uint64_t>(gpt.layers) * (14 * width + static_cast<uint64_t>(gpt.heads * gpt.context));
  return static_cast<uint64_t>(gpt.context) * (token + 2 * 256);
}

uint64_t ActivationsOf(const optim::LlamaModel& llama) {
  // Of a token in a layer: two norms and what they sum up, queries and keys before and after they are turned, values, attention, and of the
  // perceptron gate, its activation, up and their product; and its row of scores.
  const auto number = [](int64_t extent) { return static_cast<uint64_t>(extent); };
  const uint64_t heads = number(llama.num_attention_heads);
  const uint64_t projected = (3 * heads + 3 * number(llama.num_key_value_heads)) * number(llama.head_dim);
  const uint64_t layer = 6 * number(llama.hidden_size) + projected + 4 * number(llama.intermediate_size) + heads * number(llama.context);
  return number(llama.context) * (number(llama.num_hidden_layers) * layer + 2 * number(llama.vocab_size));
}

uint64_t ActivationsOf(const optim::MlpModel& mlp) {
  uint64_t numbers = static_cast<uint64_t>(mlp.inputs + 2 * mlp.outputs);
  for (const int64_t width : mlp.hidden) {
    numbers += 2 * static_cast<uint64_t>(width);
  }
  return numbers;
}

// Of residual stages at halved resolutions: two convolutions, two norms and what the activations between them keep.
uint64_t ActivationsOf(const optim::ConvNetModel& convnet) {
  auto height = static_cast<uint64_t>(convnet.height);
  auto width = static_cast<uint64_t>(convnet.width);
  uint64_t numbers = height * width * static_cast<uint64_t>(convnet.channels);
  for (size_t i = 0; i < convnet.stages.size(); ++i) {
    if (i > 0) {
      height = (height + 1) / 2;
      width = (width + 1) / 2;
    }
    numbers += 6 * height * width * static_cast<uint64_t>(convnet.stages[i]);
  }
  return numbers;
}

// Each resolution has a block downwards and one upwards, which reads twice as many channels.
uint64_t ActivationsOf(const optim::DdpmModel& ddpm) {
  auto pixels = static_cast<uint64_t>(ddpm.size * ddpm.size);
  uint64_t numbers = 2 * pixels * static_cast<uint64_t>(ddpm.channels);
  for (const int64_t width : ddpm.stages) {
    numbers += 14 * pixels * static_cast<uint64_t>(width);
    pixels /= 4;
  }
  return numbers;
}

// Its program's own matter.
uint64_t ActivationsOf(const optim::CustomModel&) {
  return 0;
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
  const uint64_t activations = std::visit([](const auto& kind) { return ActivationsOf(kind); }, model) * batch_size * sizeof(float);
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
