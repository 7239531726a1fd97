// Log lines on standard error, for people or for programs:
//
//   2026-01-31T12:00:00.123Z INFO coordinator: ready at round 12 site=berlin
//   {"time":"2026-01-31T12:00:00.123Z","level":"info","component":"coordinator","message":"ready at round 12","site":"berlin"}
//
// One line each; control characters in values are escaped, so that nothing from the network can forge a line.
#ifndef TRIBUTARY_COMMON_LOG_H_
#define TRIBUTARY_COMMON_LOG_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tributary {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kNone };

// Thread-safe. Lines below this level are dropped; kInfo at start. kNone: all of them.
void SetLogLevel(LogLevel level);

enum class LogFormat { kText, kJson };

// Thread-safe. kText at start.
void SetLogFormat(LogFormat format);

// What a line is about, by a name of its own: " site=berlin" after a text, a key in JSON.
struct LogField {
  LogField(absl::string_view field, const absl::AlphaNum& text) : name(field), value(text.Piece()) {}

  std::string name;  // a word that is none of time, level, component and message
  std::string value;
};

// A message in pieces: what StrCat joins, and fields wherever they stand among it.
struct LogMessage {
  std::string text;
  std::vector<LogField> fields;

  void Add(LogField field) { fields.push_back(std::move(field)); }
  void Add(const absl::AlphaNum& piece) { absl::StrAppend(&text, piece); }
};

// Thread-safe. `component` is the program or part that speaks.
void WriteLog(LogLevel level, absl::string_view component, const LogMessage& message);

// `args`: pieces of the message (whatever StrCat takes) and LogFields, in any order.
template <typename... Args>
void Log(LogLevel level, absl::string_view component, const Args&... args) {
  LogMessage message;
  (message.Add(args), ...);
  WriteLog(level, component, message);
}
template <typename... Args>
void LogInfo(absl::string_view component, const Args&... args) {
  Log(LogLevel::kInfo, component, args...);
}
template <typename... Args>
void LogWarning(absl::string_view component, const Args&... args) {
  Log(LogLevel::kWarning, component, args...);
}
template <typename... Args>
void LogError(absl::string_view component, const Args&... args) {
  Log(LogLevel::kError, component, args...);
}

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_LOG_H_
