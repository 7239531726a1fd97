#include "common/command_line.h"

#include <CLI/CLI.hpp>
#include <map>
#include <ostream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/names.h"

namespace tributary {
namespace {

// What was parsed last of `app`: a command, or itself.
struct Place {
  const CLI::App* app;
  std::string name;  // "tributary run submit"
};

Place PlaceOf(const CLI::App& app) {
  Place place = {&app, app.get_name()};
  while (!place.app->get_subcommands().empty()) {
    place.app = place.app->get_subcommands().front();
    absl::StrAppend(&place.name, " ", place.app->get_name());
  }
  return place;
}

// What is wrong, if it is a word where a command should be; else empty. After an option that is not known, what follows may be its value.
std::string ExplainUnknownCommand(const CLI::App& app, const CLI::App* at) {
  std::vector<std::string> commands;
  for (const CLI::App* command : at->get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); })) {
    commands.push_back(command->get_name());
  }
  const std::vector<std::string> words = app.remaining(/*recurse=*/true);
  if (commands.empty() || words.empty() || words[0].empty() || words[0][0] == '-') {
    return "";
  }
  return absl::StrCat("unknown command '", words[0], "'", DidYouMean(words[0], commands));
}

}  // namespace

std::string VersionText(absl::string_view program, absl::string_view protocol, absl::string_view libtorch) {
  return absl::StrCat(program, " ", TRIBUTARY_VERSION, ", protocol ", protocol, ", ", TRIBUTARY_BUILD, " build",
                      libtorch.empty() ? "" : ", LibTorch ", libtorch);
}

void AddLogLevelOption(CLI::App* app, LogLevel* level) {
  static const std::map<std::string, LogLevel> kLevels = {
      {"debug", LogLevel::kDebug}, {"info", LogLevel::kInfo}, {"warning", LogLevel::kWarning}, {"error", LogLevel::kError}};
  app->add_option_function<std::string>(
         "--log-level", [level](const std::string& name) { *level = kLevels.at(absl::AsciiStrToLower(name)); },
         "lowest level to log: debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}, CLI::ignore_case))
      ->type_name("LEVEL")
      ->default_str("info");
}

std::optional<ExitCode> ParseCommandLine(CLI::App* app, const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err) {
  try {
    app->parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0) {
      const Place place = PlaceOf(*app);
      std::string what = ExplainUnknownCommand(*app, place.app);
      if (what.empty()) {
        what = absl::StrReplaceAll(absl::StripAsciiWhitespace(error.what()), {{"\n", " "}});
      }
      err << place.name << ": " << what << (absl::EndsWith(what, "?") ? " See: " : "; see: ") << place.name << " --help\n";
      return ExitCode::kUsage;
    }
    app->exit(error, out, err);
    return ExitCode::kOk;
  }
  return std::nullopt;
}

}  // namespace tributary
