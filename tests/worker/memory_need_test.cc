// What a run takes of a site's memory.
#include "worker/memory_need.h"

#include "gtest/gtest.h"
#include "optim/layout.h"

namespace tributary::worker {
namespace {

MemoryNeed NeedOf(const optim::LlamaModel& model, uint32_t batch_size) {
  const auto layout = optim::MakeLayout(model);
  EXPECT_TRUE(layout.ok()) << layout.status();
  return MemoryToTrain(model, {}, *layout, batch_size, Pipelining::kOff);
}

TEST(MemoryToTrain, OfExtentsWhoseProductExceedsSixtyFourBitsIsNotSmall) {
  // Of 6.3 million parameters; 2^64 bytes of activations, which in whole numbers are none.
  const optim::LlamaModel model{.vocab_size = 4840,
                                .hidden_size = 2,
                                .intermediate_size = 260000,
                                .num_hidden_layers = 4,
                                .num_attention_heads = 1023,
                                .num_key_value_heads = 1,
                                .head_dim = 2,
                                .context = 1 << 20};
  EXPECT_EQ(NeedOf(model, 1024).total(), UINT64_MAX);
}

TEST(MemoryToTrain, OfATiedEmbeddingHoldsBothItsGradients) {
  const optim::LlamaModel model{.vocab_size = 50000,
                                .hidden_size = 1000,
                                .intermediate_size = 8,
                                .num_hidden_layers = 1,
                                .num_attention_heads = 1,
                                .num_key_value_heads = 1,
                                .head_dim = 2,
                                .head = optim::LlamaModel::Head::kTied,
                                .context = 256};
  const uint64_t embedding = uint64_t{4} * 50000 * 1000;
  const uint64_t sample = uint64_t{4} * 256 * 4 * 50000;
  const MemoryNeed::Term activations = NeedOf(model, 4).terms.back();
  EXPECT_EQ(activations.what, "activations");
  EXPECT_GE(activations.bytes, embedding + 4 * sample);
  EXPECT_LT(activations.bytes, 2 * embedding + 4 * sample);
}

}  // namespace
}  // namespace tributary::worker
