// `tributary-worker data`: what a run would read of this site's data, and what a run could say of them.
#ifndef TRIBUTARY_WORKER_DATA_COMMAND_H_
#define TRIBUTARY_WORKER_DATA_COMMAND_H_

#include <string>

#include "absl/status/status.h"

namespace CLI {
class App;
}

namespace tributary::worker {

struct DataCommand {
  enum class What { kCheck, kDescribe };
  What what = What::kCheck;
  std::string config;
  std::string run;
  std::string path;
  std::string label;
  bool json = false;
};

// Has the command line fill in `command`, and `format` where it takes one.
CLI::App& AddDataCommand(CLI::App& app, DataCommand& command, std::string& format);

// Prints what was read. Errors of the files, of the run and of the configuration.
absl::Status RunDataCommand(const DataCommand& command);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_COMMAND_H_
