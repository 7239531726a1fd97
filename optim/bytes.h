// Little-endian records: appending fields to a string and reading them back with bounds.
#ifndef TRIBUTARY_OPTIM_BYTES_H_
#define TRIBUTARY_OPTIM_BYTES_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tributary::optim {

// All formats are little-endian, and whole fp32 arrays are copied as they lie in memory.
static_assert(std::endian::native == std::endian::little, "a big-endian machine needs conversions in optim/bytes.h");

template <typename T>
void AppendLittleEndian(T value, std::string& out) {
  static_assert(std::is_arithmetic_v<T>);
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

inline void AppendFloats(absl::Span<const float> values, std::string& out) {
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

template <size_t N>
absl::string_view AsBytes(const std::array<uint8_t, N>& digest) {
  return {reinterpret_cast<const char*>(digest.data()), N};
}

inline absl::string_view AsBytes(absl::Span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// Takes fields off the front of `bytes`. A read past the end returns false and takes nothing.
class ByteReader {
 public:
  explicit ByteReader(absl::string_view bytes) : rest_(bytes) {}

  template <typename T>
  bool Read(T& value) {
    static_assert(std::is_arithmetic_v<T>);
    if (rest_.size() < sizeof(T)) return false;
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return true;
  }
  template <size_t N>
  bool Read(std::array<uint8_t, N>& value) {
    if (rest_.size() < N) return false;
    std::memcpy(value.data(), rest_.data(), N);
    rest_.remove_prefix(N);
    return true;
  }
  absl::string_view rest() const { return rest_; }

 private:
  absl::string_view rest_;
};

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_BYTES_H_
