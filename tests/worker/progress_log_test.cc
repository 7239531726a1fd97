#include "worker/progress_log.h"

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ProgressLogTest : public ::testing::Test {
 protected:
  ProgressLogTest() { log_.BeginRun("toy", At(0)); }

  // The lines that `work` leads to, from their level on.
  template <typename Work>
  std::vector<std::string> LinesOf(const Work& work) {
    testing::internal::CaptureStderr();
    work();
    std::vector<std::string> lines;
    for (const absl::string_view line : absl::StrSplit(testing::internal::GetCapturedStderr(), '\n', absl::SkipEmpty())) {
      lines.emplace_back(line.substr(line.find("INFO")));
    }
    return lines;
  }
  absl::Time At(double seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }
  void Round(uint64_t round, double seconds, v1::Receipt::Result result = v1::Receipt::INCLUDED) {
    log_.Trained(round, 3.25);
    log_.Moved(ByteDirection::kUp, 1024);
    log_.Moved(ByteDirection::kDown, 2048);
    log_.Settled(result, At(seconds));
  }

  ProgressLog log_;
};

TEST_F(ProgressLogTest, TellsTheFirstRoundAtOnce) {
  EXPECT_THAT(LinesOf([&] { Round(1, 0); }),
              ElementsAre("INFO worker: round 1 trained: 1 updates included, training loss 3.25, up 1.00 KiB, down 2.00 KiB run=toy"));
}

TEST_F(ProgressLogTest, SumsUpFastRoundsEveryTenSeconds) {
  const auto lines = LinesOf([&] {
    for (uint64_t round = 1; round <= 401; ++round) {
      Round(round, static_cast<double>(round - 1) / 40,
            round == 7   ? v1::Receipt::LATE
            : round == 8 ? v1::Receipt::REJECTED
                         : v1::Receipt::INCLUDED);
    }
  });
  EXPECT_THAT(lines, ElementsAre(HasSubstr("round 1 trained"),
                                 "INFO worker: rounds 2 to 401 trained: 398 updates included, 1 late, 1 rejected, training loss 3.25, up "
                                 "400.00 KiB, down 800.00 KiB run=toy"));
}

TEST_F(ProgressLogTest, TellsTheRestWhenAsked) {
  Round(1, 0);
  Round(2, 1);
  EXPECT_THAT(LinesOf([&] { log_.Flush(At(2)); }), ElementsAre(HasSubstr("round 2 trained")));
  EXPECT_THAT(LinesOf([&] { log_.Flush(At(3)); }), IsEmpty());
}

TEST_F(ProgressLogTest, TellsTheRestOfOneRunBeforeAnother) {
  Round(1, 0);
  Round(2, 1);
  EXPECT_THAT(LinesOf([&] { log_.BeginRun("next", At(2)); }), ElementsAre(HasSubstr("run=toy")));
  EXPECT_THAT(LinesOf([&] { Round(1, 3); }), ElementsAre(HasSubstr("run=next")));
}

}  // namespace
}  // namespace tributary::worker
