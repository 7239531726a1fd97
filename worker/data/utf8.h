// UTF-8, as text data must be and as generated text is shown.
#ifndef TRIBUTARY_WORKER_DATA_UTF8_H_
#define TRIBUTARY_WORKER_DATA_UTF8_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace tributary::worker {

// Bytes of the longest prefix of `text` that is UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
size_t ValidUtf8Prefix(absl::string_view text);

// `text` with every byte that is not part of valid UTF-8, and every control character but newline and tab, replaced by U+FFFD:
// safe for a terminal whatever a model produced.
std::string PrintableUtf8(absl::string_view text);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_UTF8_H_
