// No log lines for a while.
#ifndef TRIBUTARY_COMMON_LOG_SILENCE_H_
#define TRIBUTARY_COMMON_LOG_SILENCE_H_

#include "common/log.h"

namespace tributary {

// From its construction to its end no line is written; then the level is what it was before, unless somebody has set another one since.
// One at a time, from any thread.
class LogSilence {
 public:
  LogSilence();
  ~LogSilence();
  LogSilence(const LogSilence&) = delete;
  LogSilence& operator=(const LogSilence&) = delete;

 private:
  const LogLevel before_;
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_LOG_SILENCE_H_
