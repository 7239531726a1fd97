// The command line of `tributary`, apart from the process around it.
#ifndef TRIBUTARY_CLI_APP_H_
#define TRIBUTARY_CLI_APP_H_

#include <cstddef>
#include <functional>
#include <iosfwd>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/interrupt.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/proxy.h"

namespace tributary::cli {

// What a command gets from the process. Pointers must outlive the call.
struct Environment {
  std::ostream* out = nullptr;
  std::ostream* err = nullptr;
  // A person watches `out` and `err`: progress is shown in place.
  bool terminal = false;
  // Writes what is buffered in `out`, and says whether all of it arrived (StandardOutput::Flush). Empty: `out` cannot fail.
  std::function<absl::Status()> flush;
  // The descriptor behind `out`, if there is one.
  int out_fd = -1;
  // Width of the lines of a terminal; what goes elsewhere is never cut.
  size_t columns = std::numeric_limits<size_t>::max();
  // Value of TRIBUTARY_CONFIG: the default of --config.
  std::string config;
  // Value of TZ; absent: unset.
  std::optional<std::string> time_zone;
  ProxyEnvironment proxies;
  Interrupt* interrupt = nullptr;
  const Clock* clock = nullptr;
};

// Runs one command; `arguments` are without the program's name. Errors are told on `err`.
ExitCode RunTributary(const std::vector<std::string>& arguments, const Environment& environment);

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_APP_H_
