#include "common/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace tributary {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
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

TEST(LogTest, NothingFromOutsideCommandsATerminalOrFillsTheDisk) {
  testing::internal::CaptureStderr();
  LogWarning("x",
             "a\xc2\x9b"
             "2J\xe2\x80\xae"
             "b");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), EndsWith(" WARNING x: a\\u009b2J\\u202eb\n"));
  SetLogFormat(LogFormat::kJson);
  testing::internal::CaptureStderr();
  LogWarning("x",
             "a\xc2\x9b"
             "2J\xe2\x80\xae"
             "b");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("a\\u009b2J\\u202eb"));
  SetLogFormat(LogFormat::kText);
  testing::internal::CaptureStderr();
  LogWarning("x", std::string(4'000'000, 'x'));
  EXPECT_LT(testing::internal::GetCapturedStderr().size(), 10'000u);
}

TEST(LogTest, OfErrorsAboutOneSiteOnlySoManyAreWrittenAndOfOthersAll) {
  testing::internal::CaptureStderr();
  for (int i = 0; i < 1000; ++i) {
    LogError("x", "it sent two", LogField("site", "hostile"));
    LogError("x", "the disk is full");
  }
  const std::string lines = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 1300);
}

TEST(LogTest, LinesAboutOneSiteLeaveOutNoErrorAndNoOthers) {
  testing::internal::CaptureStderr();
  for (int i = 0; i < 5000; ++i) {
    LogWarning("x", "a line", LogField("site", "noisy"));
  }
  LogError("x", "an error", LogField("site", "noisy"));
  LogWarning("x", "another's", LogField("site", "calm"));
  const std::string lines = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 302);
  EXPECT_THAT(lines, HasSubstr("an error"));
  EXPECT_THAT(lines, HasSubstr("another's"));
}

TEST(LogTest, FieldsFollowTheTextWhereverTheyStand) {
  testing::internal::CaptureStderr();
  LogInfo("x", LogField("site", "berlin\n"), "round ", 3, LogField("request", 7));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), EndsWith(" INFO x: round 3 site=berlin\\n request=7\n"));
}

TEST(LogTest, AFieldsValueLooksLikeNoOtherField) {
  testing::internal::CaptureStderr();
  LogInfo("x", "hello", LogField("request", "7 site=\"berlin\""));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), EndsWith(" INFO x: hello request=\"7 site=\\\"berlin\\\"\"\n"));
}

TEST(LogTest, WhatIsSaidForInformationLeavesNoWarningOut) {
  testing::internal::CaptureStderr();
  for (int i = 0; i < 1000; ++i) {
    LogInfo("x", "a line", LogField("site", "chatty"));
  }
  LogWarning("x", "look at this", LogField("site", "chatty"));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("look at this"));
}

TEST(LogTest, JsonHoldsTheSameAndNothingFromOutsideCanForgeAKey) {
  SetLogFormat(LogFormat::kJson);
  testing::internal::CaptureStderr();
  LogWarning("x", "a \"b\"\n\xff", LogField("site", "c\",\"run\":\"d"));
  const std::string line = testing::internal::GetCapturedStderr();
  SetLogFormat(LogFormat::kText);
  ASSERT_THAT(line, EndsWith("}\n"));
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json.size(), 5);
  EXPECT_EQ(json["level"], "warning");
  EXPECT_EQ(json["component"], "x");
  EXPECT_EQ(json["message"], "a \"b\"\n\ufffd");
  EXPECT_EQ(json["site"], "c\",\"run\":\"d");
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
