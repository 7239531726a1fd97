// Other people's words, fit to be quoted.
#ifndef TRIBUTARY_COMMON_EXCERPT_H_
#define TRIBUTARY_COMMON_EXCERPT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace tributary {

// Unfit is what a terminal may take for a command or what hides how a line reads: control characters (C0, DEL and C1, U+009B above all),
// the marks that turn the direction of writing or part lines (U+061C, U+200E, U+200F, U+2028 to U+202E, U+2066 to U+2069), and bytes that
// are not UTF-8.

// What a site says of itself, or an operator of a run, for statuses and terminals: one line, at most 500 bytes, cut between characters;
// what is unfit is a space, or '?' where it is not UTF-8 (a protobuf string that is not UTF-8 cannot be read back).
std::string Excerpt(absl::string_view text);

// Of any length; what is unfit is escaped: "\n", "\x1b", "\u202e".
enum class LineBreaks { kEscape, kKeep };
std::string Escaped(absl::string_view text, LineBreaks breaks = LineBreaks::kEscape);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_EXCERPT_H_
