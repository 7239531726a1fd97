// `tributary-worker enroll`, as a command: its options, what it prints, and the check of what came of it.
#ifndef TRIBUTARY_WORKER_ENROLL_COMMAND_H_
#define TRIBUTARY_WORKER_ENROLL_COMMAND_H_

#include <string>

#include "common/exit_codes.h"
#include "doctor/examine.h"

namespace CLI {
class App;
}  // namespace CLI

namespace tributary::worker {

struct EnrollCommand {
  std::string config;     // worker.yaml
  std::string directory;  // without it
  std::string coordinator;
  std::string token;
  std::string proxy;
  bool force = false;
};

// `command` must outlive parsing.
CLI::App& AddEnrollCommand(CLI::App& app, EnrollCommand& command);

// Enrols, says what was made and what is next; with a configuration, also what doctor says of it all, in `surroundings`.
ExitCode Enroll(const EnrollCommand& command, const doctor::Surroundings& surroundings);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_ENROLL_COMMAND_H_
