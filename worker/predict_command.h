// `tributary-worker predict`: an exported model at work.
#ifndef TRIBUTARY_WORKER_PREDICT_COMMAND_H_
#define TRIBUTARY_WORKER_PREDICT_COMMAND_H_

#include <string>

#include "absl/status/status.h"

namespace CLI {
class App;
}

namespace tributary::worker {

struct PredictCommand {
  std::string model;
  std::string data;
  std::string config;
  std::string output = "-";
};

// Has the command line fill in `command`.
CLI::App& AddPredictCommand(CLI::App& app, PredictCommand& command);

// Writes a prediction for each row of `data`. Errors of the files, and of a model that does not say what its inputs are.
absl::Status PredictRows(const PredictCommand& command);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_PREDICT_COMMAND_H_
