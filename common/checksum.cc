#include "common/checksum.h"

#include <openssl/evp.h>

#include <cstdlib>
#include <cstring>

#include "absl/strings/escaping.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace tributary {
namespace {

// Reflected Castagnoli polynomial.
constexpr uint32_t kPolynomial = 0x82f63b78;

using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

// table[0] advances the remainder by one byte; table[n] by a byte followed by n zero bytes (slicing by 8).
constexpr CrcTables MakeCrcTables() {
  CrcTables tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    }
    tables[0][byte] = crc;
  }
  for (uint32_t byte = 0; byte < 256; ++byte) {
    for (int n = 1; n < 8; ++n) {
      tables[n][byte] = (tables[n - 1][byte] >> 8) ^ tables[0][tables[n - 1][byte] & 0xff];
    }
  }
  return tables;
}

constexpr CrcTables kTables = MakeCrcTables();

constexpr uint32_t CrcByTable(uint32_t crc, const unsigned char* p, size_t size) {
  for (; size >= 8; p += 8, size -= 8) {
    const uint32_t low = crc ^ (uint32_t{p[0]} | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24);
    crc = kTables[7][low & 0xff] ^ kTables[6][(low >> 8) & 0xff] ^ kTables[5][(low >> 16) & 0xff] ^ kTables[4][low >> 24] ^
          kTables[3][p[4]] ^ kTables[2][p[5]] ^ kTables[1][p[6]] ^ kTables[0][p[7]];
  }
  for (; size > 0; ++p, --size) {
    crc = (crc >> 8) ^ kTables[0][(crc ^ *p) & 0xff];
  }
  return crc;
}

// The check value of the standard, for machines whose tests never take this path.
constexpr unsigned char kDigits[] = {'1', '2', '3', '4', '5', '6', '7', '8', '9'};
static_assert(~CrcByTable(~uint32_t{0}, kDigits, sizeof(kDigits)) == 0xe3069283);

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t CrcByInstruction(uint32_t crc, const unsigned char* p, size_t size) {
  uint64_t wide = crc;
  for (; size >= 8; p += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, p, sizeof(word));
    wide = _mm_crc32_u64(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; size > 0; ++p, --size) {
    crc = _mm_crc32_u8(crc, *p);
  }
  return crc;
}
#endif

using CrcFunction = uint32_t (*)(uint32_t, const unsigned char*, size_t);

CrcFunction ChooseCrc() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) {
    return CrcByInstruction;
  }
#endif
  return CrcByTable;
}

// A digest fails only when OpenSSL is out of memory or was built without SHA-256: nothing sensible can follow.
void Require(int openssl_result) {
  if (openssl_result != 1) {
    std::abort();
  }
}

}  // namespace

uint32_t ExtendCrc32c(uint32_t crc, absl::string_view bytes) {
  static const CrcFunction function = ChooseCrc();
  return ~function(~crc, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

uint32_t Crc32c(absl::string_view bytes) {
  return ExtendCrc32c(0, bytes);
}

Digest Sha256(absl::string_view bytes) {
  Digest digest;
  Require(EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr));
  return digest;
}

Sha256Hasher::Sha256Hasher() : context_(EVP_MD_CTX_new()) {
  Require(context_ != nullptr);
  Require(EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), EVP_sha256(), nullptr));
}

Sha256Hasher::~Sha256Hasher() {
  EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_));
}

void Sha256Hasher::Update(absl::string_view bytes) {
  Require(EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size()));
}

Digest Sha256Hasher::SoFar() const {
  Sha256Hasher copy;
  Require(EVP_MD_CTX_copy_ex(static_cast<EVP_MD_CTX*>(copy.context_), static_cast<EVP_MD_CTX*>(context_)));
  return copy.Finish();
}

Digest Sha256Hasher::Finish() {
  Digest digest;
  Require(EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), digest.data(), nullptr));
  return digest;
}

std::string DigestBytes(const Digest& digest) {
  return std::string(reinterpret_cast<const char*>(digest.data()), digest.size());
}

std::string DigestHex(const Digest& digest) {
  return absl::BytesToHexString(DigestBytes(digest));
}

bool ToDigest(absl::string_view bytes, Digest& digest) {
  if (bytes.size() != digest.size()) {
    return false;
  }
  std::memcpy(digest.data(), bytes.data(), digest.size());
  return true;
}

}  // namespace tributary
