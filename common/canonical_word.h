// Words of tables, of which one and the same whole number can be written in several ways.
#ifndef TRIBUTARY_COMMON_CANONICAL_WORD_H_
#define TRIBUTARY_COMMON_CANONICAL_WORD_H_

#include <string>

#include "absl/strings/string_view.h"

namespace tributary {

// A whole number as it is written most shortly: "1" of "01", "+1", "1.0" and "1,00"; any other word as it is. More than two zeros after the
// mark could as well be thousands: "1,000" is a word.
std::string CanonicalWord(absl::string_view word);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CANONICAL_WORD_H_
