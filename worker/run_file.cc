#include "worker/run_file.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "optim/weights_file.h"
#include "proto/config/run_options.h"
#include "proto/config/weights_sections.h"
#include "proto/config/yaml.h"

namespace tributary::worker {

absl::StatusOr<LoadedRun> LoadRun(const std::string& path) {
  LoadedRun run;
  TRIBUTARY_RETURN_IF_ERROR(LoadYaml(path, &run.spec));
  TRIBUTARY_RETURN_IF_ERROR(Annotate(ValidateRunSpec(run.spec), path));
  TRIBUTARY_ASSIGN_OR_RETURN(run.model, ModelSpecOf(run.spec));
  TRIBUTARY_ASSIGN_OR_RETURN(run.layout, optim::MakeLayout(run.model));
  return run;
}

absl::StatusOr<LoadedRun> LoadExported(const std::string& model) {
  TRIBUTARY_ASSIGN_OR_RETURN(const auto metadata, optim::ReadWeightsMetadata(model));
  absl::StatusOr<v1::RunSpec> spec = RunOfWeights(metadata);
  if (!spec.ok()) {
    return Annotate(spec.status(), absl::StrCat(model, " (--run names a run file instead)"));
  }
  LoadedRun run;
  run.spec = *std::move(spec);
  TRIBUTARY_ASSIGN_OR_RETURN(run.model, ModelSpecOf(run.spec));
  TRIBUTARY_ASSIGN_OR_RETURN(run.layout, optim::MakeLayout(run.model));
  return run;
}

}  // namespace tributary::worker
