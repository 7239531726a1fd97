#include "common/log.h"

#include <unistd.h>

#include <atomic>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/clock.h"

namespace tributary {
namespace {

std::atomic<LogLevel> least_level{LogLevel::kInfo};
std::atomic<LogFormat> line_format{LogFormat::kText};

constexpr absl::string_view kLevelNames[] = {"DEBUG", "INFO", "WARNING", "ERROR"};

// Everything below space, and DEL, as \xNN; UTF-8 stays as it is.
void AppendEscaped(absl::string_view text, std::string* line) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      line->append("\\n");
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(line, "\\x%02x", byte);
    } else {
      line->push_back(c);
    }
  }
}

std::string TextLine(absl::string_view time, absl::string_view level, absl::string_view component, const LogMessage& message) {
  std::string line = absl::StrCat(time, " ", level, " ");
  AppendEscaped(component, &line);
  line.append(": ");
  AppendEscaped(message.text, &line);
  for (const LogField& field : message.fields) {
    absl::StrAppend(&line, " ", field.name, "=");
    AppendEscaped(field.value, &line);
  }
  return line;
}

// A JSON string; bytes that are not UTF-8 are replaced.
void AppendJson(absl::string_view text, std::string* line) {
  line->append(nlohmann::json(std::string(text)).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string JsonLine(absl::string_view time, absl::string_view level, absl::string_view component, const LogMessage& message) {
  std::string line = absl::StrCat("{\"time\":\"", time, "\",\"level\":\"", absl::AsciiStrToLower(level), "\",\"component\":");
  AppendJson(component, &line);
  line.append(",\"message\":");
  AppendJson(message.text, &line);
  for (const LogField& field : message.fields) {
    absl::StrAppend(&line, ",\"", field.name, "\":");
    AppendJson(field.value, &line);
  }
  line.append("}");
  return line;
}

}  // namespace

void SetLogLevel(LogLevel level) {
  least_level.store(level, std::memory_order_relaxed);
}

void SetLogFormat(LogFormat format) {
  line_format.store(format, std::memory_order_relaxed);
}

void WriteLog(LogLevel level, absl::string_view component, const LogMessage& message) {
  if (level < least_level.load(std::memory_order_relaxed)) {
    return;
  }
  const std::string time = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", Clock::Real().WallNow(), absl::UTCTimeZone());
  const absl::string_view name = kLevelNames[static_cast<int>(level)];
  std::string line = line_format.load(std::memory_order_relaxed) == LogFormat::kJson ? JsonLine(time, name, component, message)
                                                                                     : TextLine(time, name, component, message);
  line.push_back('\n');
  // One write a line, so that lines of several threads do not mix. A log that cannot be written has nowhere to say so.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace tributary
