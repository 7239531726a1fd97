// Bytes in the encodings that sites' programs write, as UTF-8.
#include "worker/data/text_encoding.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::worker {
namespace {

using ::testing::HasSubstr;

std::string Decoded(absl::string_view bytes, std::optional<Encoding> stated = std::nullopt) {
  const absl::StatusOr<DecodedText> decoded = DecodeText(std::string(bytes), stated);
  return decoded.ok() ? decoded->text : std::string(decoded.status().message());
}

TEST(TextEncoding, AByteOrderMarkSaysMoreThanTheSite) {
  EXPECT_EQ(Decoded("\xef\xbb\xbf\xc3\xbc", Encoding::kLatin1), "\xc3\xbc");
  EXPECT_EQ(Decoded(absl::string_view("\xff\xfe\xfc\0", 4), Encoding::kLatin1), "\xc3\xbc");
  EXPECT_EQ(Decoded(absl::string_view("\xfe\xff\0\xfc", 4), Encoding::kUtf8), "\xc3\xbc");
}

TEST(TextEncoding, Utf16WithoutAMarkIsReadInTheOrderOfItsZeroBytes) {
  EXPECT_EQ(Decoded(absl::string_view("a\0b\0", 4), Encoding::kUtf16), "ab");
  EXPECT_EQ(Decoded(absl::string_view("\0a\0b", 4), Encoding::kUtf16), "ab");
}

TEST(TextEncoding, Utf16HasCharactersOfOneAndOfTwoUnits) {
  EXPECT_EQ(Decoded(absl::string_view("\xff\xfe\xac\x20\x3d\xd8\x00\xde", 8)), "\xe2\x82\xac\xf0\x9f\x98\x80");
}

TEST(TextEncoding, BrokenUtf16IsRefused) {
  EXPECT_THAT(Decoded("\xff\xfe\x41"), HasSubstr("an odd number of bytes"));
  EXPECT_THAT(Decoded(absl::string_view("\xff\xfe\x3d\xd8", 4)), HasSubstr("byte 0: half a character"));
  EXPECT_THAT(Decoded(absl::string_view("\xff\xfe\x3d\xd8\x41\x00", 6)), HasSubstr("byte 0: half a character"));
  EXPECT_THAT(Decoded(absl::string_view("\xff\xfe\x00\xde", 4)), HasSubstr("half a character"));
}

TEST(TextEncoding, SingleBytesAreReadAsTheSiteSays) {
  EXPECT_EQ(Decoded("M\xfcller \x80", Encoding::kLatin1), "M\xc3\xbcller \xc2\x80");
  EXPECT_EQ(Decoded("M\xfcller \x80", Encoding::kWindows1252), "M\xc3\xbcller \xe2\x82\xac");
  EXPECT_THAT(Decoded("\x81", Encoding::kWindows1252), HasSubstr("byte 0 is not windows-1252"));
}

TEST(TextEncoding, WhatIsNoTextIsRefused) {
  EXPECT_THAT(Decoded(absl::string_view("ab\0", 3)), HasSubstr("byte 2 is 0"));
}

TEST(TextEncoding, EveryNameIsThatOfItsEncoding) {
  for (const Encoding encoding : {Encoding::kUtf8, Encoding::kUtf16, Encoding::kLatin1, Encoding::kWindows1252}) {
    EXPECT_EQ(EncodingNamed(NameOf(encoding)), encoding);
  }
  EXPECT_EQ(EncodingNamed("latin1"), std::nullopt);
}

}  // namespace
}  // namespace tributary::worker
