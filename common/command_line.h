// What the command lines of our programs have in common.
#ifndef TRIBUTARY_COMMON_COMMAND_LINE_H_
#define TRIBUTARY_COMMON_COMMAND_LINE_H_

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/exit_codes.h"
#include "common/log.h"

namespace CLI {
class App;
}  // namespace CLI

namespace tributary {

// "tributary-worker 0.2.0, protocol 1, Release build, LibTorch 1.13.1". `protocol`: the versions it speaks; `libtorch` empty: not linked.
std::string VersionText(absl::string_view program, absl::string_view protocol, absl::string_view libtorch = "");

// --log-level. `level` holds the default and outlives the parsing.
void AddLogLevelOption(CLI::App* app, LogLevel* level);

// Parses `arguments`, which are without the program's name. Absent: go on; else the program ends with this: kOk after help and version
// (written to `out`), kUsage after an error (told on `err` in one line, which
// begins with the program's name and ends with where to look; of an unknown command, with the one that may be meant).
std::optional<ExitCode> ParseCommandLine(CLI::App* app, const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_COMMAND_LINE_H_
