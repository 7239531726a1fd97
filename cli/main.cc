// The process around the operator's command: environment, terminal, signals.
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "cli/app.h"
#include "common/grpc_log.h"
#include "common/standard_output.h"
#include "common/stop_signals.h"
#include "common/tls.h"

int main(int argc, char** argv) {
  tributary::RequireTls13();
  // What gRPC says of a failed connection also comes back as an error, in our words.
  tributary::RouteGrpcLog(tributary::LogLevel::kNone);

  // Signals are taken by one thread; every thread made later inherits the mask.
  tributary::BlockStopSignals();
  signal(SIGPIPE, SIG_IGN);

  static tributary::cli::Interrupt interrupt;
  std::thread([] {
    tributary::TakeStopSignal();
    interrupt.Raise();
    // The second one does not wait for anything.
    tributary::TakeStopSignal();
    _exit(static_cast<int>(tributary::ExitCode::kInterrupted));
  }).detach();

  tributary::StandardOutput output(STDOUT_FILENO);
  tributary::cli::Environment environment;
  environment.out = &std::cout;
  environment.err = &std::cerr;
  environment.flush = [&output] { return output.Flush(); };
  environment.out_fd = STDOUT_FILENO;
  environment.terminal = isatty(STDOUT_FILENO) == 1 && isatty(STDERR_FILENO) == 1;
  if (isatty(STDOUT_FILENO) == 1) {
    winsize window = {};
    const char* const asked = std::getenv("COLUMNS");
    if (asked == nullptr || !absl::SimpleAtoi(asked, &environment.columns) || environment.columns == 0) {
      environment.columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 80;
    }
  }
  environment.interrupt = &interrupt;
  environment.clock = &tributary::Clock::Real();
  if (const char* config = std::getenv("TRIBUTARY_CONFIG")) {
    environment.config = config;
  }
  if (const char* zone = std::getenv("TZ")) {
    environment.time_zone = zone;
  }
  environment.proxies = tributary::ProxyEnvironmentOf(environ);
  return static_cast<int>(tributary::cli::RunTributary(std::vector<std::string>(argv + 1, argv + argc), environment));
}
