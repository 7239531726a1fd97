// Other people's words, fit to be quoted.
#ifndef TRIBUTARY_COMMON_EXCERPT_H_
#define TRIBUTARY_COMMON_EXCERPT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace tributary {

// What a site says of itself, or an operator of a run, for statuses and terminals: one line without control characters, at most 500 bytes,
// cut between characters (a protobuf string that is not UTF-8 cannot be read back).
std::string Excerpt(absl::string_view text);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_EXCERPT_H_
