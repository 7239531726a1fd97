#include "common/log.h"

#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/excerpt.h"
#include "common/log_silence.h"

namespace tributary {
namespace {

std::atomic<LogLevel> least_level{LogLevel::kInfo};
std::atomic<LogFormat> line_format{LogFormat::kText};

constexpr absl::string_view kLevelNames[] = {"DEBUG", "INFO", "WARNING", "ERROR"};

// Longer texts come from outside only.
constexpr size_t kMaxText = 8192;
absl::string_view Cut(absl::string_view text) {
  return text.substr(0, kMaxText);
}

// Lines of one level about one site or operator in so long a time; what goes beyond is counted and left out. What is said for information
// leaves no warning out, and no warning an error. Errors about nobody always come through.
constexpr absl::Duration kBudgetTime = absl::Minutes(10);
constexpr int kBudget = 300;
constexpr size_t kMostBudgets = 4096;

class LineBudgets {
 public:
  // What to add to the line; absent: leave it out.
  std::optional<std::string> Take(absl::string_view who, absl::Time now) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (budgets_.size() >= kMostBudgets && !budgets_.contains(who)) {
      budgets_.clear();
    }
    Budget& budget = budgets_.try_emplace(std::string(who)).first->second;
    if (now - budget.since >= kBudgetTime) {
      budget.since = now;
      budget.lines = 0;
    }
    if (budget.lines == kBudget) {
      ++budget.left_out;
      return std::nullopt;
    }
    ++budget.lines;
    const uint64_t left_out = std::exchange(budget.left_out, 0);
    return left_out == 0 ? "" : absl::StrCat(" (", left_out, " lines about it left out before)");
  }

 private:
  struct Budget {
    absl::Time since = absl::InfinitePast();
    int lines = 0;
    uint64_t left_out = 0;
  };
  std::mutex mutex_;
  std::map<std::string, Budget, std::less<>> budgets_;  // under mutex_
};

// Whom the line is about, if it is about one of those who can make the program write many; else empty.
absl::string_view About(const LogMessage& message) {
  for (const LogField& field : message.fields) {
    if (field.name == "site" || field.name == "operator" || field.name == "caller") {
      return field.value;
    }
  }
  return "";
}

// One word, whatever the value: nobody's value looks like another field.
std::string Word(absl::string_view value) {
  const std::string escaped = Escaped(Cut(value));
  const bool is_word = !escaped.empty() && escaped.find_first_of(" =\"") == std::string::npos;
  return is_word ? escaped : absl::StrCat("\"", absl::StrReplaceAll(escaped, {{"\"", "\\\""}}), "\"");
}

std::string TextLine(absl::string_view time, absl::string_view level, absl::string_view component, const LogMessage& message) {
  std::string line = absl::StrCat(time, " ", level, " ", Escaped(component), ": ", Escaped(Cut(message.text)));
  for (const LogField& field : message.fields) {
    absl::StrAppend(&line, " ", field.name, "=", Word(field.value));
  }
  return line;
}

// A JSON string in ASCII; bytes that are not UTF-8 are replaced.
void AppendJson(absl::string_view text, std::string* line) {
  line->append(nlohmann::json(std::string(Cut(text))).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
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

LogSilence::LogSilence() : before_(least_level.exchange(LogLevel::kNone)) {}

LogSilence::~LogSilence() {
  LogLevel silent = LogLevel::kNone;
  least_level.compare_exchange_strong(silent, before_);
}

void SetLogFormat(LogFormat format) {
  line_format.store(format, std::memory_order_relaxed);
}

void WriteLog(LogLevel level, absl::string_view component, const LogMessage& told) {
  if (level < least_level.load(std::memory_order_relaxed)) {
    return;
  }
  LogMessage message = told;
  if (const absl::string_view who = About(message); !who.empty()) {
    static LineBudgets* const budgets = new LineBudgets;  // lines may be written until the very end
    const std::optional<std::string> left_out =
        budgets->Take(absl::StrCat(kLevelNames[static_cast<int>(level)], " ", who), Clock::Real().Now());
    if (!left_out.has_value()) {
      return;
    }
    message.text += *left_out;
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
