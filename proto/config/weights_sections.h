// What a file of weights says of the run that it is from, so that the file alone is enough to use the model.
#ifndef TRIBUTARY_PROTO_CONFIG_WEIGHTS_SECTIONS_H_
#define TRIBUTARY_PROTO_CONFIG_WEIGHTS_SECTIONS_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "tributary/v1/run.pb.h"

namespace tributary {

// For the file's metadata (optim::WeightsOrigin): `tributary.model` and `tributary.data`, these sections of the run as JSON, with keys as
// in run.yaml and words in capitals. Of a custom model, whose tensors the file names anyway, nothing.
std::map<std::string, std::string> WeightsSectionsOf(const v1::RunSpec& spec);

// The other way: a run that has these two sections and nothing else, which are as valid as those of one that was submitted. NotFound: the
// metadata has no such sections. InvalidArgument: they are not valid, or ask for what this release does not know.
absl::StatusOr<v1::RunSpec> RunOfWeights(const std::map<std::string, std::string>& metadata);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_CONFIG_WEIGHTS_SECTIONS_H_
