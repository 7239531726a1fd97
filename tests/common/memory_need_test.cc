#include "common/memory_need.h"

#include "common/exit_codes.h"
#include "gtest/gtest.h"

namespace tributary {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(MemoryNeed, IsTheSumOfItsTermsAndNamesTheLargestFirst) {
  const MemoryNeed need{{{"state", kGiB}, {"nothing", 0}, {"sums", 2 * kGiB}}};
  EXPECT_EQ(need.total(), 3 * kGiB);
  EXPECT_EQ(FormatNeed(need), "3.00 GiB of memory (sums 2.00 GiB, state 1.00 GiB)");
}

TEST(MemoryNeed, ThatIsBeyondSixtyFourBitsDoesNotBecomeSmall) {
  const MemoryNeed need{{{"state", kGiB}, {"activations", UINT64_MAX}, {"gradient", kGiB}}};
  EXPECT_EQ(need.total(), UINT64_MAX);
}

TEST(MemoryNeed, ThatFitsIsNoError) {
  EXPECT_TRUE(CheckMemory("it needs", {{{"state", kGiB}}}, {2 * kGiB, kGiB, "this machine"}).ok());
}

TEST(MemoryNeed, ThatDoesNotFitNamesBothFiguresAndWhatBoundsThem) {
  const absl::Status status = CheckMemory("run bible needs", {{{"state", 3 * kGiB}}}, {4 * kGiB, kGiB, "control group /x"});
  EXPECT_EQ(status.message(),
            "run bible needs 3.00 GiB of memory (state 3.00 GiB), and 1.00 GiB of 4.00 GiB are available (control group /x): give it more "
            "memory, or the run a smaller model");
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kMemory);
}

}  // namespace
}  // namespace tributary
