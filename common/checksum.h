// CRC-32C for frames and SHA-256 for contents.
#ifndef TRIBUTARY_COMMON_CHECKSUM_H_
#define TRIBUTARY_COMMON_CHECKSUM_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace tributary {

// A SHA-256 digest.
using Digest = std::array<uint8_t, 32>;
inline constexpr size_t kDigestBytes = 32;

// CRC-32C (Castagnoli, RFC 3720 appendix B.4): Crc32c("123456789") == 0xe3069283.
uint32_t Crc32c(absl::string_view bytes);
// Of what `crc` is of, with `bytes` behind it; 0 is of nothing.
uint32_t ExtendCrc32c(uint32_t crc, absl::string_view bytes);

// SHA-256 in one call (OpenSSL EVP).
Digest Sha256(absl::string_view bytes);

// SHA-256 in pieces. Not thread-safe.
class Sha256Hasher {
 public:
  Sha256Hasher();
  ~Sha256Hasher();
  Sha256Hasher(const Sha256Hasher&) = delete;
  Sha256Hasher& operator=(const Sha256Hasher&) = delete;
  void Update(absl::string_view bytes);
  // Of what came until now; more may come.
  Digest SoFar() const;
  // Once.
  Digest Finish();

 private:
  void* context_;
};

// Digests as protobuf `bytes` fields and as hexadecimal for people.
std::string DigestBytes(const Digest& digest);
std::string DigestHex(const Digest& digest);
// False, and `digest` unchanged: not as many bytes as a digest has.
bool ToDigest(absl::string_view bytes, Digest& digest);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CHECKSUM_H_
