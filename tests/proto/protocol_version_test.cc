#include "proto/protocol_version.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tributary {
namespace {

using ::testing::HasSubstr;

TEST(ProtocolVersion, TwoSidesTalkInTheNewestThatBothSpeak) {
  struct Case {
    uint32_t here_oldest, here_newest, there_oldest, there_newest;
    uint32_t common;  // 0: none
    const char* upgrade = "";
  };
  const Case cases[] = {
      {1, 1, 1, 0, 1},           // the release that knew one version
      {1, 1, 1, 1, 1},           //
      {1, 2, 1, 0, 1},           // a coordinator that speaks its forerunner's version too
      {1, 1, 1, 2, 1},           // a worker that does
      {1, 2, 1, 2, 2},           //
      {2, 5, 3, 9, 5},           //
      {1, 1, 1, 0xffffffff, 1},  //
      {1, 1, 5, 3, 0, "here"},   // nonsense: 5 alone
      {1, 1, 2, 3, 0, "here"},   // the other is ahead
      {2, 3, 1, 1, 0, "there"},  // the other is behind
      {2, 3, 1, 0, 0, "there"},  //
      {1, 1, 0, 0, 0, "there"},  // not of this protocol
      {1, 1, 7, 0, 0, "here"},   //
  };
  for (const Case& c : cases) {
    const std::string label = absl::StrCat(c.here_oldest, "-", c.here_newest, " and ", c.there_oldest, "-", c.there_newest);
    const absl::StatusOr<uint32_t> version =
        NegotiateProtocol({"here", c.here_oldest, c.here_newest}, {"there", c.there_oldest, c.there_newest});
    if (c.common != 0) {
      EXPECT_EQ(version.value_or(0), c.common) << label;
    } else {
      EXPECT_TRUE(absl::IsFailedPrecondition(version.status())) << label;
      EXPECT_THAT(std::string(version.status().message()), HasSubstr(absl::StrCat("upgrade ", c.upgrade))) << label;
    }
  }
}

TEST(ProtocolVersion, ARefusalNamesBothReleasesAndWhatTheySpeak) {
  EXPECT_EQ(NegotiateProtocol({"this coordinator (1.0)", 1, 1}, {"the worker (3.0)", 2, 3}).status().message(),
            "this coordinator (1.0) speaks protocol version 1, the worker (3.0) version 2 to 3; upgrade this coordinator (1.0)");
}

}  // namespace
}  // namespace tributary
