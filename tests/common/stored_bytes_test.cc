#include "common/stored_bytes.h"

#include <string>

#include "gtest/gtest.h"

namespace tributary {
namespace {

TEST(StoredBytesTest, SlicesAcrossPartsThatAreJoined) {
  const SharedBytes bytes = Concatenated({InMemory("abc"), InMemory(""), InMemory("defg"), InMemory("h")});
  std::string scratch;
  EXPECT_EQ(bytes->size(), 8U);
  EXPECT_EQ(*bytes->Slice(0, 3, scratch), "abc");
  EXPECT_EQ(*bytes->Slice(2, 4, scratch), "cdef");
  EXPECT_EQ(*bytes->Slice(1, 7, scratch), "bcdefgh");
  EXPECT_EQ(*bytes->Slice(8, 0, scratch), "");
  EXPECT_EQ(*ReadAll(*bytes), "abcdefgh");
  EXPECT_EQ(*ReadAll(*Concatenated({})), "");
}

TEST(StoredBytesTest, SlicesAPart) {
  const SharedBytes bytes = PartOf(Concatenated({InMemory("abc"), InMemory("def")}), 1, 4);
  std::string scratch;
  EXPECT_EQ(bytes->size(), 4U);
  EXPECT_EQ(*bytes->Slice(1, 2, scratch), "cd");
  EXPECT_EQ(*ReadAll(*bytes), "bcde");
}

TEST(StoredBytesTest, HashesInSlicesAsInOne) {
  std::string text(2 * kSliceBytes + 17, 'x');
  text[kSliceBytes] = 'y';
  const SharedBytes bytes = InMemory(text);
  EXPECT_EQ(*Sha256(*bytes), Sha256(text));
  EXPECT_EQ(*Crc32c(*bytes), Crc32c(text));
}

}  // namespace
}  // namespace tributary
