// Folders of models as Hugging Face's `transformers` writes and loads them: config.json beside model.safetensors. Of llama alone, whose
// tensors have the same names and shapes here and there.
#ifndef TRIBUTARY_CLI_HUGGINGFACE_H_
#define TRIBUTARY_CLI_HUGGINGFACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/stored_bytes.h"
#include "optim/model_spec.h"
#include "tributary/v1/run.pb.h"

namespace tributary::cli {

// What a config.json says, as `model.llama` of a run file; its `context` is max_position_embeddings, or `context` where that is less.
// InvalidArgument: not JSON, a key that is missing or out of range, or something that the model `llama` does not do (another architecture,
// biases, scaled rotary embeddings, quantised weights), by its key.
absl::StatusOr<v1::LlamaSpec> LlamaOfHuggingFace(absl::string_view config, uint32_t context);

// The same of `folder`, its errors with the file's name. NotFound and others as ReadFile.
absl::StatusOr<v1::LlamaSpec> ReadHuggingFaceConfig(const std::string& folder, uint32_t context);

// The bytes of a config.json with which `transformers` loads the model.
std::string HuggingFaceConfig(const optim::LlamaModel& model);

// The weights of `folder` as one safetensors file, fp32: of model.safetensors, or if there is none (as `transformers` chooses) of the
// shards that model.safetensors.index.json names. Tensors that say nothing of the model are left out: a head that is tied to the embedding,
// and tables of rotary embeddings. Errors as of optim::MergeWeights; InvalidArgument: an index that is none.
absl::StatusOr<std::string> ReadHuggingFaceWeights(const std::string& folder, const optim::LlamaModel& model);

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_HUGGINGFACE_H_
