// Log lines on standard error: "2026-01-31T12:00:00.123Z INFO coordinator: round 12 committed site=berlin". One line each; control
// characters in values are escaped, so that nothing from the network can forge a line.
#ifndef TRIBUTARY_COMMON_LOG_H_
#define TRIBUTARY_COMMON_LOG_H_

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tributary {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kNone };

// Thread-safe. Lines below this level are dropped; kInfo at start. kNone: all of them.
void SetLogLevel(LogLevel level);

// Thread-safe. `component` is the program or part that speaks.
void Log(LogLevel level, absl::string_view component, absl::string_view message);

template <typename... Args>
void LogInfo(absl::string_view component, const Args&... args) {
  Log(LogLevel::kInfo, component, absl::StrCat(args...));
}
template <typename... Args>
void LogWarning(absl::string_view component, const Args&... args) {
  Log(LogLevel::kWarning, component, absl::StrCat(args...));
}
template <typename... Args>
void LogError(absl::string_view component, const Args&... args) {
  Log(LogLevel::kError, component, absl::StrCat(args...));
}

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_LOG_H_
