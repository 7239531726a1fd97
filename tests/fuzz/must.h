// What every fuzz target says when something does not hold.
#ifndef TRIBUTARY_TESTS_FUZZ_MUST_H_
#define TRIBUTARY_TESTS_FUZZ_MUST_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/string_view.h"

namespace tributary::fuzz {

inline void Must(bool holds, const char* what) {
  if (holds) {
    return;
  }
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}

// Takes one byte off the front; zero when there is none.
inline uint8_t TakeByte(absl::string_view& input) {
  if (input.empty()) {
    return 0;
  }
  const uint8_t byte = static_cast<uint8_t>(input[0]);
  input.remove_prefix(1);
  return byte;
}

}  // namespace tributary::fuzz

#endif  // TRIBUTARY_TESTS_FUZZ_MUST_H_
