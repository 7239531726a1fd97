// Assertions of the program's own invariants, in every build: what must hold unless this program has a defect. Going on would spread wrong
// state to a journal or to other sites, so the process aborts. Never for what came from outside: that gets an absl::Status.
#ifndef TRIBUTARY_COMMON_ASSERT_H_
#define TRIBUTARY_COMMON_ASSERT_H_

#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// TRIBUTARY_ASSERT(condition, message...): aborts unless `condition` holds. The message, pieces as for absl::StrCat, is made only then; it
// names the values that contradict each other.
#define TRIBUTARY_ASSERT(condition, ...)                                                         \
  do {                                                                                           \
    if (ABSL_PREDICT_FALSE(!(condition))) {                                                      \
      ::tributary::AssertionFailed(__FILE__, __LINE__, #condition, ::absl::StrCat(__VA_ARGS__)); \
    }                                                                                            \
  } while (false)

namespace tributary {

// Writes one line to standard error and aborts.
[[noreturn]] void AssertionFailed(const char* file, int line, const char* condition, absl::string_view message);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_ASSERT_H_
