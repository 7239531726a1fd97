#include "common/log.h"

#include <unistd.h>

#include <atomic>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/clock.h"

namespace tributary {
namespace {

std::atomic<LogLevel> least_level{LogLevel::kInfo};

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

}  // namespace

void SetLogLevel(LogLevel level) {
  least_level.store(level, std::memory_order_relaxed);
}

void Log(LogLevel level, absl::string_view component, absl::string_view message) {
  if (level < least_level.load(std::memory_order_relaxed)) {
    return;
  }
  std::string line = absl::StrCat(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", Clock::Real().WallNow(), absl::UTCTimeZone()), " ",
                                  kLevelNames[static_cast<int>(level)], " ");
  AppendEscaped(component, &line);
  line.append(": ");
  AppendEscaped(message, &line);
  line.push_back('\n');
  // One write a line, so that lines of several threads do not mix. A log that cannot be written has nowhere to say so.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace tributary
