// Hugging Face's folders: what is read, what is refused, and that what is written is read again.
#include "cli/huggingface.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/files.h"
#include "common/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/cli/run_command.h"
#include "tests/common/test_folder.h"

namespace tributary::cli {
namespace {

using ::testing::HasSubstr;

constexpr char kConfig[] = R"({
  "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1, "hidden_act": "silu",
  "hidden_size": 4, "initializer_range": 0.04, "intermediate_size": 6, "max_position_embeddings": 8192, "mlp_bias": false,
  "model_type": "llama", "num_attention_heads": 2, "num_hidden_layers": 1, "num_key_value_heads": 1, "rms_norm_eps": 1e-05,
  "rope_scaling": null, "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "vocab_size": 5
})";

absl::StatusOr<v1::LlamaSpec> LlamaOf(absl::string_view config) {
  return LlamaOfHuggingFace(config, 8192);
}

// The folder of that model. The tensor number i, as below, has all values i; the head, which is tied, lies there all the same.
class HuggingFaceFolder {
 public:
  HuggingFaceFolder() {
    folder_.Write("config.json", kConfig);
    const std::string layer = "model.layers.0.";
    shapes_ = {{"model.embed_tokens.weight", {5, 4}},
               {layer + "self_attn.q_proj.weight", {4, 4}},
               {layer + "self_attn.k_proj.weight", {2, 4}},
               {layer + "self_attn.v_proj.weight", {2, 4}},
               {layer + "self_attn.o_proj.weight", {4, 4}},
               {layer + "mlp.gate_proj.weight", {6, 4}},
               {layer + "mlp.up_proj.weight", {6, 4}},
               {layer + "mlp.down_proj.weight", {4, 6}},
               {layer + "input_layernorm.weight", {4}},
               {layer + "post_attention_layernorm.weight", {4}},
               {"model.norm.weight", {4}},
               {"lm_head.weight", {5, 4}},
               {layer + "self_attn.rotary_emb.inv_freq", {1}}};
  }
  // The tensors [begin, end) as a file.
  void WriteShard(const std::string& name, size_t begin, size_t end) {
    std::vector<std::vector<float>> values;
    std::vector<NamedTensor> tensors;
    values.reserve(end - begin);
    for (size_t i = begin; i < end; ++i) {
      size_t size = 1;
      for (const int64_t extent : shapes_[i].second) {
        size *= static_cast<size_t>(extent);
      }
      values.emplace_back(size, static_cast<float>(i));
      tensors.push_back({shapes_[i].first, shapes_[i].second, values.back()});
    }
    folder_.Write(name, *EncodeSafetensors(tensors, {}));
  }
  void Write(const std::string& name, absl::string_view text) { folder_.Write(name, text); }
  std::string File(const std::string& name) { return folder_.File(name); }
  size_t tensors() const { return shapes_.size(); }
  Result Import(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"model", "from-huggingface", folder_.path(), "--output", File("out.safetensors")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunCommand(arguments);
  }

 private:
  TestFolder folder_;
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes_;
};

TEST(HuggingFace, AFolderBecomesTheRunFilesModelAndItsWeights) {
  HuggingFaceFolder folder;
  folder.WriteShard("model.safetensors", 0, folder.tensors());
  const Result result = folder.Import();
  ASSERT_EQ(result.code, ExitCode::kOk) << result.err;
  EXPECT_THAT(result.out, HasSubstr(R"(model:
  llama:
    vocab_size: 5
    hidden_size: 4
    intermediate_size: 6
    num_hidden_layers: 1
    num_attention_heads: 2
    num_key_value_heads: 1
    rms_norm_eps: 1e-05
    rope_theta: 100000.0
    tie_word_embeddings: true
    context: 512
  initial_weights: "out.safetensors"
data:
  kind: tokens
)"));
  const auto weights = DecodeSafetensors(ReadFile(folder.File("out.safetensors"), 1 << 20).value());
  ASSERT_TRUE(weights.ok()) << weights.status();
  ASSERT_EQ(weights->tensors.size(), 11u);
  for (size_t i = 0; i < 11; ++i) {
    EXPECT_EQ(weights->tensors[i].values[0], static_cast<float>(i)) << weights->tensors[i].name;
  }
  const Result json = folder.Import({"--context", "64", "--format", "json"});
  EXPECT_EQ(nlohmann::json::parse(json.out).at("model").at("llama").at("context"), 64) << json.err;
}

TEST(HuggingFace, ShardsAreFoundThroughTheirIndex) {
  HuggingFaceFolder folder;
  folder.WriteShard("model-00001-of-00002.safetensors", 6, 11);
  folder.WriteShard("model-00002-of-00002.safetensors", 0, 6);
  folder.Write("model.safetensors.index.json",
               R"({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})");
  EXPECT_EQ(folder.Import().code, ExitCode::kOk);
  EXPECT_EQ(DecodeSafetensors(ReadFile(folder.File("out.safetensors"), 1 << 20).value())->tensors[6].values[0], 6);
  folder.Write("model.safetensors.index.json", R"({"weight_map": {"a": "model-00001-of-00002.safetensors"}})");
  EXPECT_THAT(folder.Import().err, HasSubstr("has no tensor model.embed_tokens.weight"));
  folder.Write("model.safetensors.index.json", R"({"weight_map": {"a": "../model.safetensors"}})");
  EXPECT_THAT(folder.Import().err, HasSubstr("where a file of this folder is to be named"));
  folder.Write("model.safetensors.index.json", "[]");
  EXPECT_THAT(folder.Import().err, HasSubstr("model.safetensors.index.json: is not a JSON object"));
}

TEST(HuggingFace, AnIndexNamesItsShardsInAnObject) {
  HuggingFaceFolder folder;
  folder.WriteShard("a.safetensors", 0, folder.tensors());
  folder.Write("model.safetensors.index.json", R"({"weight_map": ["a.safetensors"]})");
  EXPECT_THAT(folder.Import().err, HasSubstr("model.safetensors.index.json has no object weight_map"));
}

TEST(HuggingFace, WeightsInOneFileComeBeforeAnIndexBesideThem) {
  HuggingFaceFolder folder;
  folder.WriteShard("model.safetensors", 0, folder.tensors());
  folder.Write("model.safetensors.index.json", R"({"weight_map": {"a": "absent.safetensors"}})");
  const Result result = folder.Import();
  EXPECT_EQ(result.code, ExitCode::kOk) << result.err;
}

TEST(HuggingFace, MoreContextThanARunMayHaveIsNoneThatItTakes) {
  const std::string config = absl::StrReplaceAll(kConfig, {{"8192", "10485760"}});
  const auto llama = LlamaOfHuggingFace(config, 512);
  ASSERT_TRUE(llama.ok()) << llama.status();
  EXPECT_EQ(llama->context(), 512u);
  EXPECT_EQ(LlamaOfHuggingFace(kConfig, 10000)->context(), 8192u);
}

TEST(HuggingFace, WhatTheModelDoesNotDoIsNamed) {
  const struct {
    const char* from;
    const char* to;
    const char* problem;
  } cases[] = {
      {R"("model_type": "llama")", R"("model_type": "mistral")", R"(model_type is "mistral"; only "llama" is known)"},
      {R"("LlamaForCausalLM")", R"("LlamaForSequenceClassification")", "architectures is "},
      {R"("attention_bias": false)", R"("attention_bias": true)", "attention_bias is true; the model llama does only false"},
      {R"("mlp_bias": false)", R"("mlp_bias": true)", "mlp_bias is true"},
      {R"("hidden_act": "silu")", R"("hidden_act": "gelu")", "hidden_act is \"gelu\""},
      {R"("rope_scaling": null)", R"("rope_scaling": {"rope_type": "llama3", "factor": 8.0})", "has no scaled rotary embeddings"},
      {R"("rope_scaling": null)", R"("rope_parameters": {"rope_type": "yarn"})", "rope_parameters is "},
      {R"("rope_scaling": null)", R"("rope_scaling": {"factor": 8.0})", "rope_scaling is "},
      {R"("rope_scaling": null)", R"("rope_scaling": {"rope_type": null, "type": "linear", "factor": 8.0})", "rope_scaling is "},
      {R"("rope_scaling": null)", R"("rope_parameters": {"rope_theta": 5e4})", "rope_theta is 100000 in one place and 50000 in another"},
      {R"("rope_scaling": null)", R"("rope_scaling": {"rope_theta": 5e4})", "rope_theta is 100000 in one place and 50000 in another"},
      {R"("tie_word_embeddings": true)", R"("tie_word_embeddings": "false")", "tie_word_embeddings is \"false\", neither true nor false"},
      {R"("tie_word_embeddings": true)", R"("tie_word_embeddings": 1)", "tie_word_embeddings is 1"},
      {R"("rope_scaling": null)", R"("quantization_config": {})", "quantization_config is there"},
      {R"("vocab_size": 5)", R"("vocab_size": -5)", "vocab_size is -5, no extent"},
      {R"("vocab_size": 5)", R"("vocab_size": 99999999)", "vocab_size: 99999999 is more than 10000000"},
      {R"("hidden_size": 4,)", "", "hidden_size is missing"},
      {R"("rms_norm_eps": 1e-05)", R"("rms_norm_eps": "small")", "rms_norm_eps is \"small\", no number"},
  };
  EXPECT_TRUE(LlamaOf(kConfig).ok()) << LlamaOf(kConfig).status();
  for (const auto& each : cases) {
    const absl::Status status = LlamaOf(absl::StrReplaceAll(kConfig, {{each.from, each.to}})).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << each.to;
    EXPECT_THAT(status.message(), HasSubstr(each.problem));
  }
  EXPECT_FALSE(LlamaOf("{").ok());
  EXPECT_FALSE(LlamaOf(std::string(100000, '[')).ok());
}

TEST(HuggingFace, RotaryEmbeddingsAreReadInTheirNewerFormToo) {
  const auto newer = LlamaOf(absl::StrReplaceAll(
      kConfig, {{R"("rope_scaling": null, "rope_theta": 100000)", R"("rope_parameters": {"rope_type": "default", "rope_theta": 5e4})"}}));
  ASSERT_TRUE(newer.ok()) << newer.status();
  EXPECT_EQ(newer->rope_theta(), 5e4);
  for (const char* const same : {R"("rope_parameters": {"rope_theta": 1e5})", R"("rope_scaling": {})"}) {
    const auto llama = LlamaOf(absl::StrReplaceAll(kConfig, {{R"("rope_scaling": null)", same}}));
    ASSERT_TRUE(llama.ok()) << llama.status();
    EXPECT_EQ(llama->rope_theta(), 1e5);
  }
}

TEST(HuggingFace, WhatIsWrittenIsReadAgain) {
  const optim::LlamaModel model{.vocab_size = 300,
                                .hidden_size = 24,
                                .intermediate_size = 40,
                                .num_hidden_layers = 3,
                                .num_attention_heads = 4,
                                .num_key_value_heads = 2,
                                .head_dim = 8,
                                .rms_norm_eps = 1e-5,
                                .rope_theta = 250000,
                                .head = optim::LlamaModel::Head::kTied,
                                .context = 96};
  const auto llama = LlamaOf(HuggingFaceConfig(model));
  ASSERT_TRUE(llama.ok()) << llama.status();
  EXPECT_EQ(llama->vocab_size(), 300u);
  EXPECT_EQ(llama->num_key_value_heads(), 2u);
  EXPECT_EQ(llama->head_dim(), 8u);
  EXPECT_EQ(llama->rms_norm_eps(), 1e-5);
  EXPECT_EQ(llama->rope_theta(), 250000);
  EXPECT_TRUE(llama->tie_word_embeddings());
  EXPECT_EQ(llama->context(), 96u);
}

}  // namespace
}  // namespace tributary::cli
