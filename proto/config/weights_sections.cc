#include "proto/config/weights_sections.h"

#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"
#include "common/excerpt.h"
#include "common/status_macros.h"
#include "optim/layout.h"
#include "proto/config/rules.h"
#include "proto/config/run_options.h"

namespace tributary {
namespace {

constexpr char kModel[] = "tributary.model";
constexpr char kData[] = "tributary.data";

std::string JsonOf(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  return google::protobuf::util::MessageToJsonString(message, &json, options).ok() ? json : "{}";
}

absl::Status Parse(const std::map<std::string, std::string>& metadata, const char* key, google::protobuf::Message* message) {
  const auto section = metadata.find(key);
  if (section == metadata.end()) {
    return absl::NotFoundError(absl::StrCat("the file has no ", key, ": it is from a release before 0.2, or not from a run"));
  }
  const auto parsed = google::protobuf::util::JsonStringToMessage(section->second, message);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(key, ": ", Excerpt(std::string(parsed.message()))));
  }
  return Annotate(CheckRules(*message), key);
}

}  // namespace

std::map<std::string, std::string> WeightsSectionsOf(const v1::RunSpec& spec) {
  if (spec.model().has_custom()) {
    return {};
  }
  v1::ModelSpec model = spec.model();
  model.clear_initial_weights();
  return {{kModel, JsonOf(model)}, {kData, JsonOf(spec.data())}};
}

absl::StatusOr<v1::RunSpec> RunOfWeights(const std::map<std::string, std::string>& metadata) {
  v1::RunSpec run;
  TRIBUTARY_RETURN_IF_ERROR(Parse(metadata, kModel, run.mutable_model()));
  TRIBUTARY_RETURN_IF_ERROR(Parse(metadata, kData, run.mutable_data()));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ModelSpec model, ModelSpecOf(run));
  TRIBUTARY_RETURN_IF_ERROR(Annotate(optim::MakeLayout(model).status(), kModel));
  TRIBUTARY_RETURN_IF_ERROR(CheckDataOf(run));
  return run;
}

}  // namespace tributary
