// Completion of our programs' command lines in a shell, made from what they parse, so that it cannot fall behind.
#ifndef TRIBUTARY_COMMON_COMPLETION_H_
#define TRIBUTARY_COMMON_COMPLETION_H_

#include <string>

namespace CLI {
class App;
}  // namespace CLI

namespace tributary {

enum class Shell { kBash, kZsh };

// A script for the shell to source. It completes commands, options and the values of options that take one of a few; anything else as a
// file name. zsh reads it through its bashcompinit. `app` has its name and all its commands.
std::string CompletionScript(const CLI::App& app, Shell shell);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_COMPLETION_H_
