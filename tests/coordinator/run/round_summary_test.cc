#include "coordinator/run/round_summary.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::IsEmpty;

v1::RoundRecord Record(uint64_t round, uint32_t included = 2) {
  v1::RoundRecord record;
  record.set_round(round);
  record.set_members(2);
  record.set_included(included);
  record.set_train_loss(3.25);
  record.set_bytes_up(1024);
  record.set_bytes_down(2048);
  return record;
}

class RoundSummaryTest : public ::testing::Test {
 protected:
  // The lines at INFO that `work` leads to, from their text on.
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

  RoundSummary summary_{"toy-1", 4000};
};

TEST_F(RoundSummaryTest, TellsTheFirstRoundAtOnce) {
  EXPECT_THAT(LinesOf([&] { summary_.RoundCommitted(Record(1), At(0)); }),
              ElementsAre("INFO coordinator: round 1 of 4000 committed: 2 of 2 updates, training loss 3.25, up 1.00 KiB, down 2.00 KiB "
                          "run=toy-1"));
}

TEST_F(RoundSummaryTest, SumsUpFastRoundsEveryTenSeconds) {
  summary_.SetValidationLoss(3.5);
  const auto lines = LinesOf([&] {
    for (uint64_t round = 1; round <= 801; ++round) {
      summary_.RoundCommitted(Record(round, round == 7 ? 1 : 2), At(static_cast<double>(round - 1) / 40));
    }
  });
  EXPECT_THAT(lines, ElementsAre(EndsWith("run=toy-1"),
                                 "INFO coordinator: rounds 2 to 401 of 4000 committed: 799 of 800 updates, training loss 3.25, "
                                 "validation loss 3.5, up 400.00 KiB, down 800.00 KiB run=toy-1",
                                 EndsWith("run=toy-1")));
}

TEST_F(RoundSummaryTest, TellsOfUpdatesThatWereNotTaken) {
  summary_.UpdateCameLate();
  summary_.UpdateRejected();
  summary_.UpdateRejected();
  EXPECT_THAT(
      LinesOf([&] { summary_.RoundCommitted(Record(5), At(0)); }),
      ElementsAre("INFO coordinator: round 5 of 4000 committed: 2 of 2 updates, 1 late, 2 rejected, training loss 3.25, up 1.00 KiB, "
                  "down 2.00 KiB run=toy-1"));
}

TEST_F(RoundSummaryTest, TellsTheRestWhenAsked) {
  summary_.RoundCommitted(Record(1), At(0));
  summary_.RoundCommitted(Record(2), At(1));
  EXPECT_THAT(LinesOf([&] { summary_.Flush(At(2)); }), ElementsAre(::testing::HasSubstr("round 2 of 4000 committed")));
  EXPECT_THAT(LinesOf([&] { summary_.Flush(At(3)); }), IsEmpty());
}

}  // namespace
}  // namespace tributary::coordinator
