#include "coordinator/run/run_accounts.h"

#include <limits>

#include "gtest/gtest.h"

namespace tributary::coordinator {
namespace {

TEST(BoundedMean, IsTheMeanOfWhatHonestSitesSay) {
  EXPECT_DOUBLE_EQ(*BoundedMean({2, 3, 4}), 3);
  EXPECT_DOUBLE_EQ(*BoundedMean({0.001, 0.02}), 0.0105) << "small losses may differ by any factor";
  EXPECT_DOUBLE_EQ(*BoundedMean({7}), 7);
}

TEST(BoundedMean, ALieMovesItByLessThanTheMedianTakesFour) {
  EXPECT_DOUBLE_EQ(*BoundedMean({2, 2, 3e38}), (2 + 2 + 9) / 3.0);
  EXPECT_DOUBLE_EQ(*BoundedMean({3e38, 2}), (2 + 9) / 2.0);
}

TEST(BoundedMean, LeavesOutWhatIsNoLoss) {
  EXPECT_DOUBLE_EQ(*BoundedMean({2, -3e38, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}), 2);
  EXPECT_FALSE(BoundedMean({-1, std::numeric_limits<double>::quiet_NaN()}).has_value());
  EXPECT_FALSE(BoundedMean({}).has_value());
}

}  // namespace
}  // namespace tributary::coordinator
