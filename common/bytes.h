// Records of bytes: fields appended to a string, little-endian or as varints, and read back with bounds.
#ifndef TRIBUTARY_COMMON_BYTES_H_
#define TRIBUTARY_COMMON_BYTES_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tributary {

// All formats are little-endian, and whole fp32 arrays are copied as they lie in memory.
static_assert(std::endian::native == std::endian::little, "a big-endian machine needs conversions in common/bytes.h");

template <typename T>
void AppendLittleEndian(T value, std::string& out) {
  static_assert(std::is_arithmetic_v<T>);
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

// `bytes` behind their length, an unsigned integer of type Length, which must hold it.
template <typename Length>
void AppendField(absl::string_view bytes, std::string& out) {
  AppendLittleEndian(static_cast<Length>(bytes.size()), out);
  out.append(bytes.data(), bytes.size());
}

// Seven bits a byte, the low ones first; a byte that is not the last has its high bit set. As in Protocol Buffers.
inline void AppendVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) {
    out.push_back(static_cast<char>(value | 0x80));
  }
  out.push_back(static_cast<char>(value));
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

// Takes fields off the front of `bytes`. A field that is not there whole returns false and takes nothing.
class ByteReader {
 public:
  explicit ByteReader(absl::string_view bytes) : rest_(bytes) {}

  template <typename T>
  bool Read(T& value) {
    static_assert(std::is_arithmetic_v<T>);
    if (rest_.size() < sizeof(T)) {
      return false;
    }
    std::memcpy(&value, rest_.data(), sizeof(T));
    rest_.remove_prefix(sizeof(T));
    return true;
  }
  template <size_t N>
  bool Read(std::array<uint8_t, N>& value) {
    if (rest_.size() < N) {
      return false;
    }
    std::memcpy(value.data(), rest_.data(), N);
    rest_.remove_prefix(N);
    return true;
  }
  // What AppendField appended, as a part of `bytes`.
  template <typename Length>
  bool ReadField(absl::string_view& field) {
    ByteReader reader(rest_);
    Length length = 0;
    if (!reader.Read(length) || length > reader.rest_.size()) {
      return false;
    }
    field = reader.rest_.substr(0, length);
    rest_ = reader.rest_.substr(length);
    return true;
  }
  // False also: a varint that is not the shortest of its value.
  bool ReadVarint(uint64_t& value) {
    uint64_t read = 0;
    for (size_t i = 0; i < rest_.size() && i < 10; ++i) {
      const auto byte = static_cast<uint8_t>(rest_[i]);
      if (i == 9 && byte > 1) {
        return false;
      }
      read |= uint64_t{byte & 0x7fu} << (7 * i);
      if (byte >= 0x80) {
        continue;
      }
      if (byte == 0 && i > 0) {
        return false;
      }
      value = read;
      rest_.remove_prefix(i + 1);
      return true;
    }
    return false;
  }
  absl::string_view rest() const { return rest_; }

 private:
  absl::string_view rest_;
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_BYTES_H_
