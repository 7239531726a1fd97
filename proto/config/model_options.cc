#include "proto/config/model_options.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/excerpt.h"
#include "proto/config/rules.h"

namespace tributary {
namespace {

// Of a custom model; its product is bounded by the layout.
constexpr uint64_t kMaxExtent = uint64_t{1} << 28;

absl::Status Invalid(absl::string_view key, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(key, ": ", problem));
}

const google::protobuf::OneofDescriptor& KindOneof() {
  return *v1::ModelSpec::descriptor()->FindOneofByName("kind");
}

absl::StatusOr<optim::ModelSpec> CustomModelOf(const v1::CustomSpec& custom) {
  optim::CustomModel model;
  for (int i = 0; i < custom.tensors_size(); ++i) {
    const v1::TensorSpec& tensor = custom.tensors(i);
    const std::string field = absl::StrCat("model.custom.tensors[", i, "]");
    if (Escaped(tensor.name()) != tensor.name()) {
      return Invalid(absl::StrCat(field, ".name"), absl::StrCat("'", Excerpt(tensor.name()), "' is not a name: use printable characters"));
    }
    optim::Block block = {.name = tensor.name(), .shape = {}, .frozen = tensor.frozen()};
    for (const uint64_t extent : tensor.shape()) {
      if (extent < 1 || extent > kMaxExtent) {
        return Invalid(absl::StrCat(field, ".shape"), absl::StrCat(extent, " is not between 1 and ", kMaxExtent));
      }
      block.shape.push_back(static_cast<int64_t>(extent));
    }
    model.blocks.push_back(std::move(block));
  }
  return model;
}

absl::StatusOr<optim::ModelSpec> LlamaModelOf(const v1::LlamaSpec& llama) {
  const uint32_t heads = std::max(llama.num_attention_heads(), 1u);  // that 0 is too few is said elsewhere
  if (!llama.has_head_dim() && llama.hidden_size() % heads != 0) {
    return Invalid("model.llama.hidden_size",
                   absl::StrCat(llama.hidden_size(), " is not a multiple of num_attention_heads, which is ", heads, "; or say head_dim"));
  }
  return optim::LlamaModel{
      .vocab_size = llama.vocab_size(),
      .hidden_size = llama.hidden_size(),
      .intermediate_size = llama.intermediate_size(),
      .num_hidden_layers = llama.num_hidden_layers(),
      .num_attention_heads = llama.num_attention_heads(),
      .num_key_value_heads = llama.has_num_key_value_heads() ? llama.num_key_value_heads() : llama.num_attention_heads(),
      .head_dim = llama.has_head_dim() ? llama.head_dim() : llama.hidden_size() / heads,
      .rms_norm_eps = llama.rms_norm_eps(),
      .rope_theta = llama.rope_theta(),
      .head = llama.tie_word_embeddings() ? optim::LlamaModel::Head::kTied : optim::LlamaModel::Head::kOwn,
      .context = llama.context()};
}

}  // namespace

absl::StatusOr<optim::ModelSpec> ModelSpecOf(const v1::RunSpec& spec) {
  const v1::ModelSpec& model = spec.model();
  switch (model.kind_case()) {
    case v1::ModelSpec::kGpt: {
      const v1::GptSpec& gpt = model.gpt();
      return optim::GptModel{.layers = gpt.layers(), .heads = gpt.heads(), .width = gpt.width(), .context = gpt.context()};
    }
    case v1::ModelSpec::kMlp: {
      optim::MlpModel mlp{.inputs = model.mlp().inputs(), .hidden = {}, .outputs = model.mlp().outputs()};
      mlp.task = model.mlp().task() == v1::MlpSpec::VALUES ? optim::MlpModel::Task::kValues : optim::MlpModel::Task::kClasses;
      for (int i = 0; i < model.mlp().hidden_size(); ++i) {
        const uint32_t width = model.mlp().hidden(i);
        // The annotations bound the number of elements of a list, not the elements.
        if (width < 1 || width > 1'000'000) {
          return Invalid(absl::StrCat("model.mlp.hidden[", i, "]"), absl::StrCat(width, " is not between 1 and 1000000"));
        }
        mlp.hidden.push_back(width);
      }
      return mlp;
    }
    case v1::ModelSpec::kCustom:
      return CustomModelOf(model.custom());
    case v1::ModelSpec::kConvnet: {
      const v1::ConvNetSpec& convnet = model.convnet();
      return optim::ConvNetModel{.height = convnet.height(),
                                 .width = convnet.width(),
                                 .channels = convnet.channels(),
                                 .stages = {convnet.stages().begin(), convnet.stages().end()},
                                 .outputs = convnet.outputs()};
    }
    case v1::ModelSpec::kDdpm: {
      const v1::DdpmSpec& ddpm = model.ddpm();
      return optim::DdpmModel{
          .size = ddpm.size(), .channels = ddpm.channels(), .stages = {ddpm.stages().begin(), ddpm.stages().end()}, .steps = ddpm.steps()};
    }
    case v1::ModelSpec::kLlama:
      return LlamaModelOf(model.llama());
    case v1::ModelSpec::KIND_NOT_SET:
      break;
  }
  return Invalid("model", absl::StrCat("needs one of: ", MembersOf(KindOneof())));
}

std::vector<std::string> ModelKinds() {
  const google::protobuf::OneofDescriptor& oneof = KindOneof();
  std::vector<std::string> kinds;
  for (int i = 0; i < oneof.field_count(); ++i) {
    kinds.push_back(oneof.field(i)->name());
  }
  return kinds;
}

std::string ModelKindOf(const v1::ModelSpec& model) {
  const google::protobuf::FieldDescriptor* kind = model.GetReflection()->GetOneofFieldDescriptor(model, &KindOneof());
  return kind != nullptr ? kind->name() : "unknown";
}

}  // namespace tributary
