// `tributary-worker sample`, as a command: its options, and where what a model makes goes.
#ifndef TRIBUTARY_WORKER_SAMPLE_COMMAND_H_
#define TRIBUTARY_WORKER_SAMPLE_COMMAND_H_

#include <string>

#include "absl/status/status.h"
#include "worker/sample.h"
#include "worker/sample_images.h"

namespace CLI {
class App;
}  // namespace CLI

namespace tributary::worker {

struct SampleCommand {
  std::string run;
  std::string model;
  SampleOptions text;
  SampleImagesOptions images;
  std::string output;  // of images
  const CLI::App* app = nullptr;
};

// `command` must outlive parsing, and `app` the command.
CLI::App& AddSampleCommand(CLI::App& app, SampleCommand& command);

// Text goes to standard output, images to the file that is named. InvalidArgument: an option that is not for what the model makes; a model
// that makes neither.
absl::Status Sample(const SampleCommand& command);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SAMPLE_COMMAND_H_
