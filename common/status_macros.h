// Early return on error, for absl::Status and absl::StatusOr.
#ifndef TRIBUTARY_COMMON_STATUS_MACROS_H_
#define TRIBUTARY_COMMON_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// Returns the status of `expression` from the enclosing function if it is an error.
#define TRIBUTARY_RETURN_IF_ERROR(expression)                                     \
  do {                                                                            \
    if (absl::Status tributary_status_ = (expression); !tributary_status_.ok()) { \
      return tributary_status_;                                                   \
    }                                                                             \
  } while (false)

#define TRIBUTARY_CONCAT_INNER_(a, b) a##b
#define TRIBUTARY_CONCAT_(a, b) TRIBUTARY_CONCAT_INNER_(a, b)

// Assigns the value of a StatusOr `expression` to `declaration`, or returns its error.
#define TRIBUTARY_ASSIGN_OR_RETURN(declaration, expression) \
  TRIBUTARY_ASSIGN_OR_RETURN_(TRIBUTARY_CONCAT_(tributary_statusor_, __LINE__), declaration, expression)
#define TRIBUTARY_ASSIGN_OR_RETURN_(result, declaration, expression) \
  auto result = (expression);                                        \
  if (!result.ok()) {                                                \
    return std::move(result).status();                               \
  }                                                                  \
  declaration = *std::move(result)

namespace tributary {

// `status` with "context: " before its message; its code and payloads stay. OK stays OK.
absl::Status Annotate(absl::Status status, absl::string_view context);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_STATUS_MACROS_H_
