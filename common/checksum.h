// CRC-32C for frames and SHA-256 for contents.
#ifndef TRIBUTARY_COMMON_CHECKSUM_H_
#define TRIBUTARY_COMMON_CHECKSUM_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tributary {

// CRC-32C (Castagnoli, RFC 3720 appendix B.4): Crc32c("123456789") == 0xe3069283.
uint32_t Crc32c(absl::string_view bytes);

// SHA-256 in one call (OpenSSL EVP).
std::array<uint8_t, 32> Sha256(absl::string_view bytes);

// SHA-256 in pieces. Not thread-safe.
class Sha256Hasher {
 public:
  Sha256Hasher();
  ~Sha256Hasher();
  Sha256Hasher(const Sha256Hasher&) = delete;
  Sha256Hasher& operator=(const Sha256Hasher&) = delete;
  void Update(absl::string_view bytes);
  // Once.
  std::array<uint8_t, 32> Finish();

 private:
  void* context_;
};

// Digests as protobuf `bytes` fields and as hexadecimal for people.
std::string DigestBytes(const std::array<uint8_t, 32>& digest);
std::string DigestHex(const std::array<uint8_t, 32>& digest);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CHECKSUM_H_
