#include "common/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary {
namespace {

using ::testing::EndsWith;
using ::testing::MatchesRegex;

TEST(LogTest, ALineSaysWhenHowBadWhoAndWhat) {
  testing::internal::CaptureStderr();
  LogInfo("coordinator", "round ", 12, " committed");
  const std::string line = testing::internal::GetCapturedStderr();
  EXPECT_THAT(line, MatchesRegex("....-..-..T..:..:..\\....Z INFO coordinator: round 12 committed\n"));
}

TEST(LogTest, NothingFromOutsideCanForgeALine) {
  testing::internal::CaptureStderr();
  LogWarning("x", "name a\nERROR b\r\x1b[31m");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), EndsWith(" WARNING x: name a\\nERROR b\\x0d\\x1b[31m\n"));
}

TEST(LogTest, LinesBelowTheLevelAreDropped) {
  SetLogLevel(LogLevel::kError);
  testing::internal::CaptureStderr();
  LogWarning("x", "quiet");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  SetLogLevel(LogLevel::kInfo);
}

}  // namespace
}  // namespace tributary
