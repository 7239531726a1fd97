// A run, as the commands read it that need no coordinator.
#ifndef TRIBUTARY_WORKER_RUN_FILE_H_
#define TRIBUTARY_WORKER_RUN_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "optim/layout.h"
#include "optim/model_spec.h"
#include "tributary/v1/run.pb.h"

namespace tributary::worker {

// A run with the layout of its model.
struct LoadedRun {
  v1::RunSpec spec;
  optim::ModelSpec model;
  optim::Layout layout;
};

// Errors of LoadYaml and ValidateRunSpec, with the path.
absl::StatusOr<LoadedRun> LoadRun(const std::string& path);
// The same from what an exported model says of itself. InvalidArgument: it says nothing, or nothing that this program knows.
absl::StatusOr<LoadedRun> LoadExported(const std::string& model);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_RUN_FILE_H_
