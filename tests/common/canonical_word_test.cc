// Whole numbers as words.
#include "common/canonical_word.h"

#include "gtest/gtest.h"

namespace tributary {
namespace {

TEST(CanonicalWord, AWholeNumberIsOneWordHoweverItIsWritten) {
  for (const char* one : {"1", "01", "+1", "1.0", "1,00", "0001.00"}) {
    EXPECT_EQ(CanonicalWord(one), "1") << one;
  }
  EXPECT_EQ(CanonicalWord("-9,00"), "-9");
  EXPECT_EQ(CanonicalWord("-00"), "0");
  EXPECT_EQ(CanonicalWord("123456789012345678901234567890"), "123456789012345678901234567890");
}

TEST(CanonicalWord, WhatCouldBeAnythingElseStaysAsItIs) {
  for (const char* word : {"", "-", "1,000", "3E1", "1.", ".0", "1.5", "1-0", "--1", "female", "0x1", "1.0 "}) {
    EXPECT_EQ(CanonicalWord(word), word);
  }
}

}  // namespace
}  // namespace tributary
