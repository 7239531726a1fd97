// Keeps one kind of log line, which events from outside repeat, from flooding the log.
#ifndef TRIBUTARY_COMMON_RARE_LINE_H_
#define TRIBUTARY_COMMON_RARE_LINE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tributary {

// A text is told once, and at most `lines` in kInterval, however they alternate; then all is news again. Not thread-safe.
class RareLine {
 public:
  static constexpr absl::Duration kInterval = absl::Minutes(10);
  static constexpr size_t kLines = 6;

  explicit RareLine(size_t lines = kLines) : most_(lines) {}

  // What to add to the line if `text` is to be told at `now`: how many were left out since the line before, or nothing. Absent: leave it
  // out.
  std::optional<std::string> Tell(absl::string_view text, absl::Time now);

  // What the line is about has changed: a text that was told is news again, within the same bound.
  void Forget() { told_.clear(); }

 private:
  const size_t most_;
  absl::Time since_ = absl::InfinitePast();
  size_t lines_ = 0;               // told since then
  uint64_t left_out_ = 0;          // since the last line
  std::vector<std::string> told_;  // at most most_
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_RARE_LINE_H_
