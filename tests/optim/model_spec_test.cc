#include "optim/model_spec.h"

#include <cmath>
#include <string>
#include <vector>

#include "common/checksum.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

std::vector<float> Weights(const ModelSpec& model, uint64_t seed) {
  const Layout layout = *MakeLayout(model);
  std::vector<float> theta(layout.size());
  EXPECT_TRUE(InitializeWeights(model, seed, layout, absl::MakeSpan(theta)).ok());
  return theta;
}

const Block& Find(const Layout& layout, absl::string_view name) {
  for (const Block& block : layout.blocks()) {
    if (block.name == name) {
      return block;
    }
  }
  ADD_FAILURE() << "no block " << name;
  return layout.blocks()[0];
}

double Deviation(absl::Span<const float> values) {
  double sum = 0;
  double squares = 0;
  for (float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
  }
  const double mean = sum / static_cast<double>(values.size());
  return std::sqrt(squares / static_cast<double>(values.size()) - mean * mean);
}

LlamaModel TinyLlama() {
  return {.vocab_size = 256,
          .hidden_size = 48,
          .intermediate_size = 96,
          .num_hidden_layers = 2,
          .num_attention_heads = 6,
          .num_key_value_heads = 2,
          .head_dim = 8,
          .context = 32};
}

TEST(ModelSpecTest, TheDefaultGptHasAboutAMillionParameters) {
  const Layout layout = *MakeLayout(GptModel());
  EXPECT_EQ(layout.size(), 256 * 128 + 64 * 128 + 5 * (12 * 128 * 128 + 13 * 128) + 2 * 128);
  EXPECT_EQ(layout.blocks().size(), 2u + 5 * 12 + 2);
  EXPECT_EQ(layout.blocks()[0].name, "wte");
  EXPECT_EQ(Find(layout, "h.4.mlp.down.weight").shape, (std::vector<int64_t>{128, 512}));
  EXPECT_EQ(layout.blocks().back().name, "lnf.bias");
}

TEST(ModelSpecTest, AnMlpHasAWeightAndABiasForEachLayer) {
  const Layout layout = *MakeLayout(MlpModel{30, {16, 8}, 2});
  ASSERT_EQ(layout.blocks().size(), 6u);
  EXPECT_EQ(Find(layout, "fc.0.weight").shape, (std::vector<int64_t>{16, 30}));
  EXPECT_EQ(Find(layout, "fc.1.weight").shape, (std::vector<int64_t>{8, 16}));
  EXPECT_EQ(Find(layout, "fc.2.weight").shape, (std::vector<int64_t>{2, 8}));
  EXPECT_EQ(Find(layout, "fc.2.bias").shape, (std::vector<int64_t>{2}));
}

TEST(ModelSpecTest, AConvNetHasTwoConvolutionsAndTwoNormsForEachStage) {
  const Layout layout = *MakeLayout(ConvNetModel{32, 32, 3, {16, 32}, 10});
  ASSERT_EQ(layout.blocks().size(), 2u * 6 + 2);
  EXPECT_EQ(layout.blocks()[0].name, "s.0.conv1.weight");
  EXPECT_EQ(Find(layout, "s.0.conv1.weight").shape, (std::vector<int64_t>{16, 3, 3, 3}));
  EXPECT_EQ(Find(layout, "s.1.conv1.weight").shape, (std::vector<int64_t>{32, 16, 3, 3}));
  EXPECT_EQ(Find(layout, "s.1.conv2.weight").shape, (std::vector<int64_t>{32, 32, 3, 3}));
  EXPECT_EQ(Find(layout, "s.1.norm2.bias").shape, (std::vector<int64_t>{32}));
  EXPECT_EQ(Find(layout, "fc.weight").shape, (std::vector<int64_t>{10, 32}));
  EXPECT_EQ(layout.blocks().back().name, "fc.bias");
}

TEST(ModelSpecTest, EveryGroupThatIsNormalisedHasSeveralChannels) {
  EXPECT_EQ(NormGroups(64), 8);
  EXPECT_EQ(NormGroups(32), 8);
  EXPECT_EQ(NormGroups(24), 6);
  EXPECT_EQ(NormGroups(12), 3);
  EXPECT_EQ(NormGroups(8), 2);
  EXPECT_EQ(NormGroups(10), 2);
  for (const int64_t channels : {4, 5, 6, 7, 13}) {
    EXPECT_EQ(NormGroups(channels), 1) << channels;
  }
}

TEST(ModelSpecTest, ADdpmHasABlockForEachResolutionDownwardsAndUpwards) {
  const Layout layout = *MakeLayout(DdpmModel{32, 3, {16, 32}, 1000});
  EXPECT_EQ(layout.blocks()[0].name, "time.0.weight");
  EXPECT_EQ(Find(layout, "time.0.weight").shape, (std::vector<int64_t>{64, 64}));
  EXPECT_EQ(Find(layout, "down.0.time.weight").shape, (std::vector<int64_t>{16, 64}));
  EXPECT_EQ(Find(layout, "down.1.conv1.weight").shape, (std::vector<int64_t>{32, 16, 3, 3}));
  EXPECT_EQ(Find(layout, "down.1.skip.weight").shape, (std::vector<int64_t>{32, 16, 1, 1}));
  EXPECT_EQ(Find(layout, "mid.conv2.weight").shape, (std::vector<int64_t>{32, 32, 3, 3}));
  EXPECT_EQ(Find(layout, "up.1.norm1.weight").shape, (std::vector<int64_t>{64}));
  EXPECT_EQ(Find(layout, "up.0.conv1.weight").shape, (std::vector<int64_t>{16, 48, 3, 3}));
  EXPECT_EQ(Find(layout, "out.weight").shape, (std::vector<int64_t>{3, 16, 3, 3}));
  for (const Block& block : layout.blocks()) {
    EXPECT_FALSE(block.name == "down.0.skip.weight" || block.name == "mid.skip.weight") << "as many channels go in as come out";
  }
}

TEST(ModelSpecTest, ImpossibleModelsAreNamed) {
  EXPECT_THAT(MakeLayout(ConvNetModel{8, 8, 2, {4}, 2}).status().message(), HasSubstr("convnet.channels is 2"));
  EXPECT_THAT(MakeLayout(ConvNetModel{8, 8, 3, {}, 2}).status().message(), HasSubstr("convnet.stages is empty"));
  EXPECT_THAT(MakeLayout(ConvNetModel{8, 8, 3, {4, 0}, 2}).status().message(), HasSubstr("convnet.stages is 0"));
  EXPECT_THAT(MakeLayout(ConvNetModel{8, 8, 3, {4, 3}, 2}).status().message(), HasSubstr("convnet.stages is 3; a stage has at least 4"));
  EXPECT_THAT(MakeLayout(DdpmModel{8, 1, {1}, 10}).status().message(), HasSubstr("ddpm.stages is 1; a stage has at least 4 channels"));
  EXPECT_THAT(MakeLayout(ConvNetModel{8, 4, 3, {4, 4, 4, 4}, 2}).status().message(), HasSubstr("a side of 4 cannot be halved so often"));
  EXPECT_THAT(MakeLayout(DdpmModel{10, 1, {4, 4, 4}, 10}).status().message(), HasSubstr("ddpm.size is 10, not a multiple of 4"));
  EXPECT_THAT(MakeLayout(DdpmModel{8, 1, {4}, 0}).status().message(), HasSubstr("ddpm.steps is 0"));
  EXPECT_THAT(MakeLayout(GptModel{0, 4, 128, 64}).status().message(), HasSubstr("gpt.layers is 0"));
  EXPECT_THAT(MakeLayout(GptModel{2, 3, 128, 64}).status().message(), HasSubstr("not a multiple of gpt.heads"));
  EXPECT_THAT(MakeLayout(GptModel{2, 4, 128, -1}).status().message(), HasSubstr("gpt.context is -1"));
  EXPECT_THAT(MakeLayout(GptModel{1, 1, int64_t{1} << 62, 64}).status().message(), HasSubstr("gpt.width"));
  LlamaModel llama = TinyLlama();
  llama.num_key_value_heads = 4;
  EXPECT_THAT(MakeLayout(llama).status().message(), HasSubstr("not a multiple of llama.num_key_value_heads, which is 4"));
  llama.num_key_value_heads = 0;
  EXPECT_THAT(MakeLayout(llama).status().message(), HasSubstr("llama.num_key_value_heads is 0"));
  llama = TinyLlama();
  llama.head_dim = 7;
  EXPECT_THAT(MakeLayout(llama).status().message(), HasSubstr("llama.head_dim is 7"));
  EXPECT_THAT(MakeLayout(MlpModel{0, {}, 2}).status().message(), HasSubstr("mlp.inputs"));
  EXPECT_THAT(MakeLayout(MlpModel{3, {4, 0}, 2}).status().message(), HasSubstr("mlp.hidden"));
}

TEST(ModelSpecTest, WeightsHaveTheDeviationsOfTheirScheme) {
  const GptModel gpt;
  const Layout layout = *MakeLayout(gpt);
  const std::vector<float> theta = Weights(gpt, 1);
  auto values = [&](absl::string_view name) {
    const Block& block = Find(layout, name);
    return absl::MakeConstSpan(theta).subspan(block.offset, block.size);
  };
  EXPECT_NEAR(Deviation(values("wte")), 0.02, 0.0003);
  EXPECT_NEAR(Deviation(values("h.3.attn.qkv.weight")), 0.02, 0.0003);
  EXPECT_NEAR(Deviation(values("h.3.attn.out.weight")), 0.02 / std::sqrt(10.0), 0.0001);
  EXPECT_NEAR(Deviation(values("h.0.mlp.down.weight")), 0.02 / std::sqrt(10.0), 0.0001);
  for (float value : values("h.2.ln1.weight")) {
    EXPECT_EQ(value, 1.0f);
  }
  for (float value : values("lnf.weight")) {
    EXPECT_EQ(value, 1.0f);
  }
  for (float value : values("h.2.mlp.up.bias")) {
    EXPECT_EQ(value, 0.0f);
  }

  const std::vector<float> ddpm = Weights(DdpmModel{32, 3, {16, 32}, 1000}, 1);
  const Layout ddpm_layout = *MakeLayout(DdpmModel{32, 3, {16, 32}, 1000});
  auto of_ddpm = [&](absl::string_view name) {
    const Block& block = Find(ddpm_layout, name);
    return absl::MakeConstSpan(ddpm).subspan(block.offset, block.size);
  };
  EXPECT_NEAR(Deviation(of_ddpm("mid.conv1.weight")), std::sqrt(2.0 / (32 * 9)), 0.002);
  EXPECT_EQ(Deviation(of_ddpm("mid.conv2.weight")), 0);
  EXPECT_EQ(Deviation(of_ddpm("out.weight")), 0);
  EXPECT_EQ(of_ddpm("norm.weight")[0], 1);

  const MlpModel mlp{50, {400}, 3};
  const std::vector<float> mlp_theta = Weights(mlp, 1);
  EXPECT_NEAR(Deviation(absl::MakeConstSpan(mlp_theta).subspan(0, 400 * 50)), std::sqrt(2.0 / 50), 0.003);
}

TEST(ModelSpecTest, ALlamaHasTheTensorsOfItsHuggingFaceFolder) {
  LlamaModel llama = TinyLlama();
  const Layout layout = *MakeLayout(llama);
  ASSERT_EQ(layout.blocks().size(), 1u + 2 * 9 + 2);
  EXPECT_EQ(layout.blocks()[0].name, "model.embed_tokens.weight");
  EXPECT_EQ(layout.blocks()[0].shape, (std::vector<int64_t>{256, 48}));
  EXPECT_EQ(Find(layout, "model.layers.1.self_attn.q_proj.weight").shape, (std::vector<int64_t>{48, 48}));
  EXPECT_EQ(Find(layout, "model.layers.1.self_attn.k_proj.weight").shape, (std::vector<int64_t>{16, 48}));
  EXPECT_EQ(Find(layout, "model.layers.1.self_attn.v_proj.weight").shape, (std::vector<int64_t>{16, 48}));
  EXPECT_EQ(Find(layout, "model.layers.0.self_attn.o_proj.weight").shape, (std::vector<int64_t>{48, 48}));
  EXPECT_EQ(Find(layout, "model.layers.0.mlp.gate_proj.weight").shape, (std::vector<int64_t>{96, 48}));
  EXPECT_EQ(Find(layout, "model.layers.0.mlp.up_proj.weight").shape, (std::vector<int64_t>{96, 48}));
  EXPECT_EQ(Find(layout, "model.layers.0.mlp.down_proj.weight").shape, (std::vector<int64_t>{48, 96}));
  EXPECT_EQ(Find(layout, "model.layers.0.input_layernorm.weight").shape, (std::vector<int64_t>{48}));
  EXPECT_EQ(Find(layout, "model.layers.0.post_attention_layernorm.weight").shape, (std::vector<int64_t>{48}));
  EXPECT_EQ(Find(layout, "model.norm.weight").shape, (std::vector<int64_t>{48}));
  EXPECT_EQ(layout.blocks().back().name, "lm_head.weight");
  llama.head = LlamaModel::Head::kTied;
  EXPECT_EQ(MakeLayout(llama)->blocks().back().name, "model.norm.weight");
}

TEST(ModelSpecTest, ALlamasResidualProjectionsStartSmaller) {
  const LlamaModel llama = TinyLlama();
  const Layout layout = *MakeLayout(llama);
  const std::vector<float> theta = Weights(llama, 1);
  const auto values = [&](absl::string_view name) {
    const Block& block = Find(layout, name);
    return absl::MakeConstSpan(theta).subspan(block.offset, block.size);
  };
  EXPECT_NEAR(Deviation(values("model.embed_tokens.weight")), 0.02, 0.0005);
  EXPECT_NEAR(Deviation(values("lm_head.weight")), 0.02, 0.0005);
  EXPECT_NEAR(Deviation(values("model.layers.1.mlp.up_proj.weight")), 0.02, 0.001);
  EXPECT_NEAR(Deviation(values("model.layers.1.mlp.down_proj.weight")), 0.01, 0.0005);
  EXPECT_NEAR(Deviation(values("model.layers.1.self_attn.o_proj.weight")), 0.01, 0.0005);
  EXPECT_EQ(values("model.norm.weight")[47], 1.0f);
}

TEST(ModelSpecTest, SeedsAndBlocksGiveDifferentValues) {
  const MlpModel mlp{8, {8}, 8};
  const std::vector<float> one = Weights(mlp, 1);
  EXPECT_EQ(one, Weights(mlp, 1));
  EXPECT_NE(one, Weights(mlp, 2));
  EXPECT_NE(std::vector<float>(one.begin(), one.begin() + 64), std::vector<float>(one.begin() + 72, one.begin() + 136));
}

// Initial weights are part of every run's identity: these bits must never change, on any machine.
TEST(ModelSpecTest, InitialWeightsHaveTheirPinnedBits) {
  const std::vector<float> theta = Weights(GptModel(), 1);
  EXPECT_EQ(DigestHex(Sha256({reinterpret_cast<const char*>(theta.data()), theta.size() * sizeof(float)})),
            "687b360a8a3c32d54ae869f2e502a9a862e792354df20afc5ebda059f8fd0d20");
  const std::vector<float> llama = Weights(TinyLlama(), 1);
  EXPECT_EQ(DigestHex(Sha256({reinterpret_cast<const char*>(llama.data()), llama.size() * sizeof(float)})),
            "ac211d57cd913171afd636bc8ec9782a92916c94071141394c8d312cbb04b446");
}

TEST(ModelSpecTest, InitialWeightsOfModelsOfImagesHaveTheirPinnedBits) {
  const auto digest_of = [](const ModelSpec& model) {
    const std::vector<float> theta = Weights(model, 1);
    return DigestHex(Sha256({reinterpret_cast<const char*>(theta.data()), theta.size() * sizeof(float)}));
  };
  EXPECT_EQ(digest_of(ConvNetModel{32, 32, 3, {16, 32}, 10}), "bd03b1bf910f9f676fd9b83c49a6e7b62b45393fb3f2eacf188db04b5d05020d");
  EXPECT_EQ(digest_of(DdpmModel{32, 3, {16, 32}, 1000}), "2ddf27c206424f6559e8a26f018ae7b5137e663f645fe69b5b5e3c2d2ac9c362");
}

TEST(ModelSpecTest, ALayoutOfAnotherModelIsRefused) {
  const Layout layout = *MakeLayout(MlpModel{8, {}, 2});
  std::vector<float> theta(layout.size());
  EXPECT_EQ(InitializeWeights(MlpModel{2, {}, 6}, 1, layout, absl::MakeSpan(theta)).code(), absl::StatusCode::kInvalidArgument);
  theta.pop_back();
  EXPECT_EQ(InitializeWeights(MlpModel{8, {}, 2}, 1, layout, absl::MakeSpan(theta)).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tributary::optim
