#include "cli/huggingface.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/excerpt.h"
#include "common/file_store.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "optim/layout.h"
#include "optim/weights_file.h"
#include "proto/config/rules.h"

namespace tributary::cli {
namespace {

using Json = nlohmann::json;

// The largest files of the kind are some kilobytes; of an index, a megabyte.
constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr uint64_t kMaxIndexBytes = 16 << 20;
constexpr size_t kMaxShards = 1000;

constexpr char kWeights[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kHead[] = "lm_head.weight";

constexpr char kTheta[] = "rope_theta";
constexpr char kRotaryPart[] = "partial_rotary_factor";

absl::Status Invalid(absl::string_view key, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(key, " ", problem));
}

std::string Shown(const Json& value) {
  return Escaped(Excerpt(value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace)));
}

absl::StatusOr<Json> ParseObject(absl::string_view text) {
  // Depth is bounded: the parser itself is not recursive, but a value that is nested without end would take long to free.
  const auto check = [](int depth, Json::parse_event_t, Json&) { return depth <= 32; };
  Json json = Json::parse(text.begin(), text.end(), check, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return absl::InvalidArgumentError("is not a JSON object");
  }
  return json;
}

// The value of `key`; null where it is absent.
const Json& ValueOf(const Json& object, const char* key) {
  static const auto& null = *new Json();
  const auto found = object.find(key);
  return found == object.end() ? null : *found;
}

absl::StatusOr<uint32_t> Extent(const Json& config, const char* key) {
  const Json& value = ValueOf(config, key);
  if (!value.is_number_unsigned() || value.get<uint64_t>() > std::numeric_limits<uint32_t>::max()) {
    return Invalid(key, value.is_null() ? "is missing" : absl::StrCat("is ", Shown(value), ", no extent"));
  }
  return value.get<uint32_t>();
}

absl::StatusOr<double> Number(const Json& object, const char* key, double absent) {
  const Json& value = ValueOf(object, key);
  if (value.is_null()) {
    return absent;
  }
  if (!value.is_number()) {
    return Invalid(key, absl::StrCat("is ", Shown(value), ", no number"));
  }
  return value.get<double>();
}

// What the model does in one way alone.
absl::Status CheckIs(const Json& config, const char* key, const Json& expected) {
  const Json& value = ValueOf(config, key);
  if (value.is_null() || value == expected) {
    return absl::OkStatus();
  }
  return Invalid(key, absl::StrCat("is ", Shown(value), "; the model llama does only ", expected.dump()));
}

// rope_scaling, or the newer rope_parameters: null, or {"rope_type": "default", "rope_theta": ...}, whose type was `type` before, and may
// be absent where nothing is scaled.
absl::Status CheckRotary(const Json& config, const char* key) {
  const Json& rope = ValueOf(config, key);
  if (rope.is_null()) {
    return absl::OkStatus();
  }
  const Json& newer = ValueOf(rope, "rope_type");
  const Json& type = newer.is_null() ? ValueOf(rope, "type") : newer;
  bool scaled = !rope.is_object() || (!type.is_null() && type != "default");
  if (!scaled && type.is_null()) {
    for (const auto& [name, value] : rope.items()) {
      scaled |= !value.is_null() && name != kTheta && name != kRotaryPart;
    }
  }
  if (scaled) {
    return Invalid(key, absl::StrCat("is ", Shown(rope), "; the model llama has no scaled rotary embeddings"));
  }
  return CheckIs(rope, kRotaryPart, 1.0);
}

// rope_theta, which stands beside the other keys or with those of the rotary embeddings, or here and there the same. Where absent, what
// `transformers` takes.
absl::StatusOr<double> ThetaOf(const Json& config) {
  std::optional<double> theta;
  for (const Json* const place : {&config, &ValueOf(config, "rope_parameters"), &ValueOf(config, "rope_scaling")}) {
    if (ValueOf(*place, kTheta).is_null()) {
      continue;
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const double here, Number(*place, kTheta, 0));
    if (theta.value_or(here) != here) {
      return Invalid(kTheta, absl::StrCat("is ", *theta, " in one place and ", here, " in another: leave the one that is true"));
    }
    theta = here;
  }
  return theta.value_or(10000);
}

absl::Status CheckArchitecture(const Json& config) {
  if (ValueOf(config, "model_type") != "llama") {
    return Invalid("model_type", absl::StrCat("is ", Shown(ValueOf(config, "model_type")), "; only \"llama\" is known"));
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckIs(config, "architectures", Json::array({"LlamaForCausalLM"})));
  TRIBUTARY_RETURN_IF_ERROR(CheckIs(config, "hidden_act", "silu"));
  TRIBUTARY_RETURN_IF_ERROR(CheckIs(config, "attention_bias", false));
  TRIBUTARY_RETURN_IF_ERROR(CheckIs(config, "mlp_bias", false));
  TRIBUTARY_RETURN_IF_ERROR(CheckIs(config, "attention_dropout", 0.0));
  TRIBUTARY_RETURN_IF_ERROR(CheckIs(config, kRotaryPart, 1.0));
  if (!ValueOf(config, "quantization_config").is_null()) {
    return Invalid("quantization_config", "is there; the model llama is not quantised: take the folder of its whole weights");
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckRotary(config, "rope_scaling"));
  return CheckRotary(config, "rope_parameters");
}

// The files that hold the weights. Where there are both, `transformers` does not look at the index.
absl::StatusOr<std::vector<std::string>> WeightFiles(const std::string& folder) {
  if (!absl::IsNotFound(FileSize(absl::StrCat(folder, "/", kWeights)).status())) {
    return std::vector<std::string>{kWeights};
  }
  const absl::StatusOr<std::string> text = ReadFile(absl::StrCat(folder, "/", kIndex), kMaxIndexBytes);
  if (absl::IsNotFound(text.status())) {
    return std::vector<std::string>{kWeights};
  }
  TRIBUTARY_RETURN_IF_ERROR(text.status());
  const absl::StatusOr<Json> index = ParseObject(*text);
  TRIBUTARY_RETURN_IF_ERROR(Annotate(index.status(), kIndex));
  const Json& map = ValueOf(*index, "weight_map");
  if (!map.is_object()) {
    return Invalid(kIndex, "has no object weight_map, of names of tensors and the files that they are in");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : map.items()) {
    if (!file.is_string() || !IsFileName(file.get<std::string>())) {
      return Invalid(kIndex, absl::StrCat("has ", Shown(file), " where a file of this folder is to be named"));
    }
    names.insert(file.get<std::string>());
  }
  if (names.empty() || names.size() > kMaxShards) {
    return Invalid(kIndex, absl::StrCat("names ", names.size(), " files in its weight_map; 1 to ", kMaxShards, " are read"));
  }
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace

absl::StatusOr<v1::LlamaSpec> LlamaOfHuggingFace(absl::string_view text, uint32_t context) {
  TRIBUTARY_ASSIGN_OR_RETURN(const Json config, ParseObject(text));
  TRIBUTARY_RETURN_IF_ERROR(CheckArchitecture(config));
  v1::LlamaSpec llama;
  const std::pair<const char*, void (v1::LlamaSpec::*)(uint32_t)> extents[] = {
      {"vocab_size", &v1::LlamaSpec::set_vocab_size},
      {"hidden_size", &v1::LlamaSpec::set_hidden_size},
      {"intermediate_size", &v1::LlamaSpec::set_intermediate_size},
      {"num_hidden_layers", &v1::LlamaSpec::set_num_hidden_layers},
      {"num_attention_heads", &v1::LlamaSpec::set_num_attention_heads},
      {"max_position_embeddings", &v1::LlamaSpec::set_context},
  };
  for (const auto& [key, set] : extents) {
    TRIBUTARY_ASSIGN_OR_RETURN(const uint32_t extent, Extent(config, key));
    (llama.*set)(extent);
  }
  llama.set_context(std::min(llama.context(), context));
  if (!ValueOf(config, "num_key_value_heads").is_null()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const uint32_t heads, Extent(config, "num_key_value_heads"));
    llama.set_num_key_value_heads(heads);
  }
  if (!ValueOf(config, "head_dim").is_null()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const uint32_t extent, Extent(config, "head_dim"));
    llama.set_head_dim(extent);
  }
  // Where absent, what `transformers` takes.
  TRIBUTARY_ASSIGN_OR_RETURN(const double epsilon, Number(config, "rms_norm_eps", 1e-6));
  TRIBUTARY_ASSIGN_OR_RETURN(const double theta, ThetaOf(config));
  llama.set_rms_norm_eps(epsilon);
  llama.set_rope_theta(theta);
  const Json& tied = ValueOf(config, "tie_word_embeddings");
  if (!tied.is_null() && !tied.is_boolean()) {
    return Invalid("tie_word_embeddings", absl::StrCat("is ", Shown(tied), ", neither true nor false"));
  }
  llama.set_tie_word_embeddings(tied == true);
  TRIBUTARY_RETURN_IF_ERROR(CheckRules(llama));
  return llama;
}

absl::StatusOr<v1::LlamaSpec> ReadHuggingFaceConfig(const std::string& folder, uint32_t context) {
  const std::string path = absl::StrCat(folder, "/config.json");
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  absl::StatusOr<v1::LlamaSpec> llama = LlamaOfHuggingFace(text, context);
  return llama.ok() ? llama : Annotate(llama.status(), path);
}

std::string HuggingFaceConfig(const optim::LlamaModel& model) {
  const nlohmann::ordered_json config = {
      {"architectures", {"LlamaForCausalLM"}},
      {"model_type", "llama"},
      {"vocab_size", model.vocab_size},
      {"hidden_size", model.hidden_size},
      {"intermediate_size", model.intermediate_size},
      {"num_hidden_layers", model.num_hidden_layers},
      {"num_attention_heads", model.num_attention_heads},
      {"num_key_value_heads", model.num_key_value_heads},
      {"head_dim", model.head_dim},
      {"hidden_act", "silu"},
      {"max_position_embeddings", model.context},
      {"rms_norm_eps", model.rms_norm_eps},
      {"rope_theta", model.rope_theta},
      {"tie_word_embeddings", model.head == optim::LlamaModel::Head::kTied},
      {"attention_bias", false},
      {"mlp_bias", false},
      // They are the tokenizer's, which a run does not know; absent, `transformers` would take Llama 2's.
      {"bos_token_id", nullptr},
      {"eos_token_id", nullptr},
      {"torch_dtype", "float32"},
  };
  return config.dump(2) + "\n";
}

absl::StatusOr<std::string> ReadHuggingFaceWeights(const std::string& folder, const optim::LlamaModel& model) {
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Layout layout, optim::MakeLayout(model));
  const absl::StatusOr<std::vector<std::string>> names = WeightFiles(folder);
  TRIBUTARY_RETURN_IF_ERROR(Annotate(names.status(), folder));
  std::vector<SharedBytes> files;
  for (const std::string& name : *names) {
    TRIBUTARY_ASSIGN_OR_RETURN(files.emplace_back(), optim::OpenWeights(absl::StrCat(folder, "/", name)));
  }
  const bool tied = model.head == optim::LlamaModel::Head::kTied;
  absl::StatusOr<std::string> weights = optim::MergeWeights(
      files, layout, [&](absl::string_view name) { return (tied && name == kHead) || absl::EndsWith(name, ".rotary_emb.inv_freq"); });
  return weights.ok() ? std::move(weights) : Annotate(weights.status(), folder);
}

}  // namespace tributary::cli
