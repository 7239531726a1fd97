#include "common/rare_line.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace tributary {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'000'000);

TEST(RareLineTest, ATextIsToldOnce) {
  RareLine line;
  EXPECT_EQ(line.Tell("a", kStart), "");
  EXPECT_EQ(line.Tell("a", kStart), std::nullopt);
  EXPECT_EQ(line.Tell("b", kStart), " (1 line like it left out)");
}

TEST(RareLineTest, TextsThatAlternateAreToldOnceEach) {
  RareLine line;
  int told = 0;
  for (int i = 0; i < 1000; ++i) {
    told += line.Tell(i % 2 == 0 ? "a" : "b", kStart + absl::Milliseconds(i)).has_value() ? 1 : 0;
  }
  EXPECT_EQ(told, 2);
}

TEST(RareLineTest, TextsThatAreAllDifferentAreBoundedToo) {
  RareLine line;
  size_t told = 0;
  for (int i = 0; i < 1000; ++i) {
    line.Forget();
    told += line.Tell(absl::StrCat(i), kStart).has_value() ? 1 : 0;
  }
  EXPECT_EQ(told, RareLine::kLines);
}

TEST(RareLineTest, AfterTheIntervalAllIsNewsWithWhatWasLeftOut) {
  RareLine line;
  line.Tell("a", kStart);
  line.Tell("a", kStart);
  line.Tell("a", kStart);
  EXPECT_EQ(line.Tell("a", kStart + RareLine::kInterval), " (2 lines like it left out)");
}

TEST(RareLineTest, WhatChangedMeanwhileIsNewsAgain) {
  RareLine line;
  line.Tell("a", kStart);
  line.Forget();
  EXPECT_EQ(line.Tell("a", kStart), "");
}

}  // namespace
}  // namespace tributary
