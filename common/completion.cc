#include "common/completion.h"

#include <CLI/CLI.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace tributary {
namespace {

std::vector<const CLI::App*> CommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_name().empty(); });
}

std::vector<std::string> OptionsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back(absl::StrCat("--", name));
    }
  }
  // A group of options is a command without a name.
  for (const CLI::App* group : app.get_subcommands([](const CLI::App* command) { return command->get_name().empty(); })) {
    const std::vector<std::string> more = OptionsOf(*group);
    names.insert(names.end(), more.begin(), more.end());
  }
  return names;
}

// "text json csv" of an option whose type is "TEXT:{text,json,csv}"; else empty.
std::string ValuesOf(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t open = type.find('{');
  if (open == std::string::npos || !absl::EndsWith(type, "}")) {
    return "";
  }
  return absl::StrReplaceAll(absl::string_view(type).substr(open + 1, type.size() - open - 2), {{",", " "}});
}

// One entry of a `case` for each command: what may follow it. `path`: the commands that lead there, "run submit"; `shared`: options that
// may stand anywhere.
void AddWords(const CLI::App& app, const std::string& path, const std::vector<std::string>& shared, std::string* words) {
  std::set<std::string> options(shared.begin(), shared.end());
  const std::vector<std::string> own = OptionsOf(app);
  options.insert(own.begin(), own.end());
  std::vector<std::string> commands;
  for (const CLI::App* command : CommandsOf(app)) {
    commands.push_back(command->get_name());
  }
  absl::StrAppend(words, "    '", path, "') options='", absl::StrJoin(options, " "), "' commands='", absl::StrJoin(commands, " "),
                  "' ;;\n");
  for (const CLI::App* command : CommandsOf(app)) {
    AddWords(*command, absl::StrCat(path, path.empty() ? "" : " ", command->get_name()), shared, words);
  }
}

void AddPaths(const CLI::App& app, const std::string& path, std::vector<std::string>* paths) {
  for (const CLI::App* command : CommandsOf(app)) {
    const std::string longer = absl::StrCat(path, path.empty() ? "" : " ", command->get_name());
    paths->push_back(absl::StrCat("'", longer, "'"));
    AddPaths(*command, longer, paths);
  }
}

void AddValues(const CLI::App& app, std::string* cases) {
  for (const CLI::Option* option : app.get_options()) {
    const std::string values = ValuesOf(*option);
    if (!values.empty() && !option->get_lnames().empty()) {
      absl::StrAppend(cases, "    --", option->get_lnames().front(), ") values='", values, "' ;;\n");
    }
  }
  for (const CLI::App* command : CommandsOf(app)) {
    AddValues(*command, cases);
  }
}

}  // namespace

std::string CompletionScript(const CLI::App& app, Shell shell) {
  const std::string& program = app.get_name();
  const std::string function = absl::StrCat("_", absl::StrReplaceAll(program, {{"-", "_"}}));
  std::string words;
  AddWords(app, "", OptionsOf(app), &words);
  std::vector<std::string> paths;
  AddPaths(app, "", &paths);
  std::string values;
  AddValues(app, &values);
  // Words that are no command do not lead anywhere: values of options, names of runs.
  return absl::StrCat(shell == Shell::kZsh ? "autoload -U +X bashcompinit && bashcompinit\n" : "", function, R"(() {
  local word path='' longer options='' commands='' values='' current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    longer="${path:+$path }$word"
    case "$longer" in
    )",
                      absl::StrJoin(paths, "|"), R"() path="$longer" ;;
    esac
  done
  case "$previous" in
)",
                      values, R"(  esac
  # Without an answer, what the option `-o default` completes: file names.
  if [ -n "$values" ]; then
    COMPREPLY=($(compgen -W "$values" -- "$current"))
    return
  fi
  case "$path" in
)",
                      words, R"(  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
    *) COMPREPLY=($(compgen -W "$commands" -- "$current")) ;;
  esac
}
complete -o default -F )",
                      function, " ", program, "\n");
}

}  // namespace tributary
