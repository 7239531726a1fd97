// Lists of integers of which most are zero or small, as bytes: zigzag varints, and a zero followed by how many zeros lie in a row. A list
// has one encoding, and only that one is read.
#ifndef TRIBUTARY_OPTIM_INTEGER_RUNS_H_
#define TRIBUTARY_OPTIM_INTEGER_RUNS_H_

#include <cstdint>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/bytes.h"

namespace tributary::optim {

// T: an integer whose values int64_t holds.
template <typename T>
void AppendRuns(absl::Span<const T> values, std::string& out);

// Fills `values`, and takes their encoding off the front of `bytes`. InvalidArgument names the place in `values`: missing, not as
// AppendRuns writes it, or out of range: beyond `limit` >= 0 in magnitude or, if T is unsigned, negative. `values` then mean nothing.
template <typename T>
absl::Status ReadRuns(absl::string_view& bytes, int64_t limit, absl::Span<T> values);

// Implementation only below.

template <typename T>
void AppendRuns(absl::Span<const T> values, std::string& out) {
  for (size_t i = 0; i < values.size();) {
    size_t end = i;
    while (end < values.size() && values[end] == 0) {
      ++end;
    }
    if (end > i) {
      AppendVarint(0, out);
      AppendVarint(end - i, out);
      i = end;
      continue;
    }
    const auto value = static_cast<int64_t>(values[i++]);
    AppendVarint(static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63), out);
  }
}

template <typename T>
absl::Status ReadRuns(absl::string_view& bytes, int64_t limit, absl::Span<T> values) {
  const int64_t least = std::is_unsigned_v<T> ? 0 : -limit;
  ByteReader reader(bytes);
  bool after_zeros = false;
  for (size_t i = 0; i < values.size();) {
    uint64_t code = 0;
    uint64_t run = 1;
    if (!reader.ReadVarint(code) || (code == 0 && (!reader.ReadVarint(run) || run == 0 || run > values.size() - i || after_zeros))) {
      return absl::InvalidArgumentError(absl::StrCat("place ", i, " is missing"));
    }
    const auto value = static_cast<int64_t>(code >> 1 ^ (0 - (code & 1)));
    if (value > limit || value < least) {
      return absl::InvalidArgumentError(absl::StrCat("place ", i, " is out of range"));
    }
    for (const size_t end = i + run; i < end; ++i) {
      values[i] = static_cast<T>(value);
    }
    after_zeros = code == 0;
  }
  bytes = reader.rest();
  return absl::OkStatus();
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_INTEGER_RUNS_H_
