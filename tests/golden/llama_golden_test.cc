// Model `llama` against logits that tests/golden/llama_reference.py computed from its definition, or, with TRIBUTARY_LLAMA_VECTORS, against
// others of the same form: llama_transformers.py writes some with Hugging Face's `transformers`.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "optim/model_spec.h"
#include "optim/weights_file.h"
#include "worker/models/model.h"

namespace tributary::worker {
namespace {

constexpr double kTolerance = 1e-4;

nlohmann::json Cases() {
  const char* const other = std::getenv("TRIBUTARY_LLAMA_VECTORS");
  std::ifstream file(other != nullptr ? other : TRIBUTARY_LLAMA_STORED_VECTORS);
  return nlohmann::json::parse(file).at("cases");
}

optim::LlamaModel ModelOf(const nlohmann::json& model, size_t context) {
  return {.vocab_size = model.at("vocab_size"),
          .hidden_size = model.at("hidden_size"),
          .intermediate_size = model.at("intermediate_size"),
          .num_hidden_layers = model.at("num_hidden_layers"),
          .num_attention_heads = model.at("num_attention_heads"),
          .num_key_value_heads = model.at("num_key_value_heads"),
          .head_dim = model.at("head_dim"),
          .rms_norm_eps = model.at("rms_norm_eps"),
          .rope_theta = model.at("rope_theta"),
          .head = model.at("tie_word_embeddings") ? optim::LlamaModel::Head::kTied : optim::LlamaModel::Head::kOwn,
          .context = static_cast<int64_t>(context)};
}

// The reference's weights: llama_reference.py, `spread`.
std::vector<float> MadeWeights(const optim::Layout& layout) {
  std::vector<float> theta(static_cast<size_t>(layout.size()));
  for (const optim::Block& block : layout.blocks()) {
    for (int64_t i = block.offset; i < block.offset + block.size; ++i) {
      auto x = static_cast<uint32_t>(static_cast<uint64_t>(i) * 2654435761u);
      x ^= x >> 15;
      x *= 2246822519u;
      x ^= x >> 13;
      theta[static_cast<size_t>(i)] = static_cast<float>(x >> 8) / (1 << 24) - 0.5f + (block.shape.size() == 1 ? 1.0f : 0.0f);
    }
  }
  return theta;
}

TEST(LlamaGolden, LogitsAreTheReferences) {
  for (const nlohmann::json& golden : Cases()) {
    const std::vector<int64_t> tokens = golden.at("tokens");
    const optim::LlamaModel spec = ModelOf(golden.at("model"), tokens.size());
    const auto layout = optim::MakeLayout(spec);
    ASSERT_TRUE(layout.ok()) << layout.status();
    absl::StatusOr<std::vector<float>> theta = MadeWeights(*layout);
    if (golden.contains("weights")) {
      theta = optim::ReadWeights(golden.at("weights").get<std::string>(), *layout);
    }
    ASSERT_TRUE(theta.ok()) << theta.status();
    const auto model = Model::Create(spec, *layout, 1);
    ASSERT_TRUE(model.ok()) << model.status();
    // Two rows, so that neither sees the other.
    Batch batch;
    batch.rows = 2;
    batch.tokens = std::vector<int64_t>(tokens.size(), 1);
    batch.tokens.insert(batch.tokens.end(), tokens.begin(), tokens.end());
    const auto logits = (*model)->Outputs(*theta, batch);
    ASSERT_TRUE(logits.ok()) << logits.status();
    const auto width = static_cast<size_t>(spec.vocab_size);
    ASSERT_EQ(logits->size(), 2 * tokens.size() * width);
    double furthest = 0;
    for (size_t i = 0; i < golden.at("positions").size(); ++i) {
      const size_t position = golden.at("positions").at(i);
      const std::vector<double> expected = golden.at("logits").at(i);
      ASSERT_EQ(expected.size(), width);
      for (size_t v = 0; v < width; ++v) {
        const double got = (*logits)[(tokens.size() + position) * width + v];
        furthest = std::max(furthest, std::abs(got - expected[v]));
        ASSERT_NEAR(got, expected[v], kTolerance) << "position " << position << ", token " << v;
      }
    }
    std::cout << "furthest from the reference: " << furthest << "\n";
  }
}

}  // namespace
}  // namespace tributary::worker
