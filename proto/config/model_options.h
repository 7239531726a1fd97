// ModelSpec (the protocol's view of a model) as the plain types of optim/.
#ifndef TRIBUTARY_PROTO_CONFIG_MODEL_OPTIONS_H_
#define TRIBUTARY_PROTO_CONFIG_MODEL_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "optim/model_spec.h"
#include "tributary/v1/run.pb.h"

namespace tributary {

// InvalidArgument names the key.
absl::StatusOr<optim::ModelSpec> ModelSpecOf(const v1::RunSpec& spec);

// The kinds of model by their keys in run.yaml, and that of `model` ("unknown": none is set).
std::vector<std::string> ModelKinds();
std::string ModelKindOf(const v1::ModelSpec& model);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_CONFIG_MODEL_OPTIONS_H_
