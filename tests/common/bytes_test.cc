#include "common/bytes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "absl/strings/escaping.h"

namespace tributary {
namespace {

std::string Varint(uint64_t value) {
  std::string bytes;
  AppendVarint(value, bytes);
  return bytes;
}

TEST(Bytes, IntegersAreLittleEndian) {
  std::string bytes;
  AppendLittleEndian<uint32_t>(0x01020304, bytes);
  AppendField<uint16_t>("ab", bytes);
  EXPECT_EQ(absl::BytesToHexString(bytes), "0403020102006162");
}

TEST(Bytes, AReaderReturnsWhatWasAppended) {
  std::string bytes;
  AppendLittleEndian<uint64_t>(7, bytes);
  AppendField<uint32_t>("field", bytes);
  AppendVarint(300, bytes);
  bytes += "rest";
  ByteReader reader(bytes);
  uint64_t integer = 0;
  absl::string_view field;
  uint64_t varint = 0;
  ASSERT_TRUE(reader.Read(integer) && reader.ReadField<uint32_t>(field) && reader.ReadVarint(varint));
  EXPECT_EQ(integer, 7u);
  EXPECT_EQ(field, "field");
  EXPECT_EQ(varint, 300u);
  EXPECT_EQ(reader.rest(), "rest");
}

TEST(Bytes, AFieldThatIsNotThereWholeIsNotTaken) {
  std::string bytes;
  AppendField<uint32_t>("field", bytes);
  bytes.pop_back();
  ByteReader reader(bytes);
  absl::string_view field = "unchanged";
  EXPECT_FALSE(reader.ReadField<uint32_t>(field));
  EXPECT_FALSE(ByteReader("abc").ReadField<uint32_t>(field));
  EXPECT_EQ(field, "unchanged");
  EXPECT_EQ(reader.rest(), bytes);
}

TEST(Bytes, VarintsOfEveryLengthAreReadBack) {
  for (int bits = 0; bits <= 64; ++bits) {
    const uint64_t value = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
    const std::string bytes = Varint(value);
    EXPECT_EQ(bytes.size(), std::max(1, (bits + 6) / 7));
    ByteReader reader(bytes);
    uint64_t read = 1;
    EXPECT_TRUE(reader.ReadVarint(read)) << bits << " bits";
    EXPECT_EQ(read, value);
    EXPECT_EQ(reader.rest(), "");
  }
}

TEST(Bytes, OnlyTheShortestFormOfAVarintIsRead) {
  uint64_t value = 5;
  for (const absl::string_view bytes : {absl::string_view("\x80", 1), absl::string_view("\x80\x00", 2), absl::string_view("")}) {
    ByteReader reader(bytes);
    EXPECT_FALSE(reader.ReadVarint(value));
    EXPECT_EQ(reader.rest(), bytes);
  }
  // One bit beyond 64, and an eleventh byte.
  EXPECT_FALSE(ByteReader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02").ReadVarint(value));
  EXPECT_FALSE(ByteReader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x01").ReadVarint(value));
  EXPECT_EQ(value, 5u);
}

}  // namespace
}  // namespace tributary
