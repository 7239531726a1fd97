#include "common/checksum.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace tributary {
namespace {

// The definition, bit by bit.
uint32_t ReferenceCrc32c(absl::string_view bytes) {
  uint32_t crc = ~uint32_t{0};
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
    }
  }
  return ~crc;
}

TEST(Crc32cTest, GivesTheValuesOfTheStandard) {
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(Crc32cTest, AgreesWithTheDefinitionForEveryLengthAndAlignment) {
  std::mt19937 random(1);
  std::string bytes(96, '\0');
  for (char& c : bytes) {
    c = static_cast<char>(random());
  }
  for (size_t begin = 0; begin < 9; ++begin) {
    for (size_t size = 0; begin + size <= bytes.size(); ++size) {
      const absl::string_view part(bytes.data() + begin, size);
      ASSERT_EQ(Crc32c(part), ReferenceCrc32c(part)) << "begin " << begin << " size " << size;
    }
  }
}

TEST(Sha256Test, GivesTheValueOfTheStandard) {
  EXPECT_EQ(DigestHex(Sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(DigestBytes(Sha256("abc")).size(), 32u);
}

TEST(Sha256Test, OfPiecesIsThatOfTheWhole) {
  Sha256Hasher hasher;
  hasher.Update("ab");
  hasher.Update("");
  hasher.Update("c");
  EXPECT_EQ(hasher.Finish(), Sha256("abc"));
}

}  // namespace
}  // namespace tributary
