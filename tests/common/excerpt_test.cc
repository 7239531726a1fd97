#include "common/excerpt.h"

#include <gtest/gtest.h>

namespace tributary {
namespace {

TEST(Excerpt, IsOneLineThatCommandsNoTerminal) {
  EXPECT_EQ(Excerpt("a\nb\tc\x1b[31md\x7f"), "a b c [31md ");
  EXPECT_EQ(Excerpt("clear\xc2\x9b"
                    "2J"),
            "clear 2J")
      << "U+009B begins a command, too";
  EXPECT_EQ(Excerpt("\xe2\x80\xae"
                    "evil\xe2\x81\xa6x\xe2\x80\x8fy\xd8\x9cz\xe2\x80\xa8"),
            " evil x y z ")
      << "marks of direction, and a line's end";
  EXPECT_EQ(Excerpt("Zürich, 東京, 🙂"), "Zürich, 東京, 🙂") << "people's names stay";
}

TEST(Excerpt, OfWhatIsNotUtf8TheBytesAreReplaced) {
  EXPECT_EQ(Excerpt("a\xff\xc3"), "a??");
  EXPECT_EQ(Excerpt("\xc0\xaf"), "??") << "overlong";
  EXPECT_EQ(Excerpt("\xed\xa0\x80"), "???") << "a surrogate";
  EXPECT_EQ(Excerpt("\xf4\x90\x80\x80"), "????") << "beyond U+10FFFF";
}

TEST(Excerpt, IsCutBetweenCharacters) {
  EXPECT_EQ(Excerpt(std::string(5'000'000, 'x')).size(), 500u);
  const std::string cut = Excerpt(std::string(499, 'x') + "ü");
  EXPECT_EQ(cut, std::string(499, 'x'));
}

TEST(Excerpt, EscapedSaysWhatWasThere) {
  EXPECT_EQ(Escaped("a\nb\x1b\xc2\x9b\xe2\x80\xae\xff"), "a\\nb\\x1b\\u009b\\u202e\\xff");
  EXPECT_EQ(Escaped("a\nb\r", LineBreaks::kKeep), "a\nb\\x0d");
  EXPECT_EQ(Escaped("Zürich"), "Zürich");
}

}  // namespace
}  // namespace tributary
