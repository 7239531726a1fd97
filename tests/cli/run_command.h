// Runs a command of `tributary` inside the test and keeps what it said.
#ifndef TRIBUTARY_TESTS_CLI_RUN_COMMAND_H_
#define TRIBUTARY_TESTS_CLI_RUN_COMMAND_H_

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "cli/app.h"

namespace tributary::cli {

struct Result {
  ExitCode code = ExitCode::kInternal;
  std::string out;
  std::string err;
};

inline Result RunCommand(const std::vector<std::string>& arguments, const std::string& config = "", bool terminal = false,
                         Interrupt* interrupt = nullptr, const std::string& time_zone = "UTC", ProxyEnvironment proxies = {}) {
  std::ostringstream out;
  std::ostringstream err;
  Interrupt never;
  Environment environment;
  environment.out = &out;
  environment.err = &err;
  environment.terminal = terminal;
  environment.config = config;
  environment.time_zone = time_zone;
  environment.proxies = std::move(proxies);
  environment.interrupt = interrupt != nullptr ? interrupt : &never;
  environment.clock = &Clock::Real();
  const ExitCode code = RunTributary(arguments, environment);
  return {code, out.str(), err.str()};
}

}  // namespace tributary::cli

#endif  // TRIBUTARY_TESTS_CLI_RUN_COMMAND_H_
