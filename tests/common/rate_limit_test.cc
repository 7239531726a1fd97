#include "common/rate_limit.h"

#include <gtest/gtest.h>

namespace tributary {
namespace {

TEST(RateLimit, LetsABurstThroughAndThenTheRate) {
  RateLimit limit({.per_second = 2, .burst = 3});
  absl::Time now = absl::UnixEpoch();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(limit.Take(now));
  }
  EXPECT_FALSE(limit.Take(now));
  now += absl::Milliseconds(499);
  EXPECT_FALSE(limit.Take(now));
  now += absl::Milliseconds(2);
  EXPECT_TRUE(limit.Take(now));
  EXPECT_FALSE(limit.Take(now));
}

TEST(RateLimit, ALongRestSavesUpNoMoreThanABurst) {
  RateLimit limit({.per_second = 2, .burst = 3});
  EXPECT_TRUE(limit.Take(absl::UnixEpoch()));
  const absl::Time now = absl::UnixEpoch() + absl::Hours(1);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(limit.Take(now));
  }
  EXPECT_FALSE(limit.Take(now));
}

}  // namespace
}  // namespace tributary
