#include "common/assert.h"

#include <cstdlib>

#include "common/log.h"

namespace tributary {

void AssertionFailed(const char* file, int line, const char* condition, absl::string_view message) {
  SetLogLevel(LogLevel::kError);  // a quiet program's last words too
  LogError("tributary", "a defect, please report it: ", file, ":", line, ": ", condition, message.empty() ? "" : ": ", message);
  std::abort();
}

}  // namespace tributary
