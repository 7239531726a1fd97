#include "common/assert.h"

#include <gtest/gtest.h>

#include "common/log.h"

namespace tributary {
namespace {

TEST(AssertTest, WhatHoldsCostsOneTestAndNoMessage) {
  int conditions = 0;
  int messages = 0;
  TRIBUTARY_ASSERT(++conditions == 1, "the message is made ", ++messages, " times");
  EXPECT_EQ(conditions, 1);
  EXPECT_EQ(messages, 0);
}

TEST(AssertDeathTest, WhatDoesNotHoldEndsTheProcessAndSaysWhereAndWhy) {
  const int held = 3;
  EXPECT_DEATH(TRIBUTARY_ASSERT(held == 4, "held is ", held), "assert_test.cc:[0-9]+: held == 4: held is 3");
}

TEST(AssertDeathTest, AMessageIsNotNeededAndALogThatIsOffDoesNotHideWhere) {
  EXPECT_DEATH(
      {
        SetLogLevel(LogLevel::kNone);
        TRIBUTARY_ASSERT(1 > 2);
      },
      "assert_test.cc:[0-9]+: 1 > 2");
}

}  // namespace
}  // namespace tributary
