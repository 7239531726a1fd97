#include "worker/token_bucket.h"

#include <gtest/gtest.h>

#include "common/clock.h"

namespace tributary::worker {
namespace {

constexpr uint64_t kRate = 1000;

TEST(TokenBucketTest, AMessageGoesWhenThoseBeforeItArePaidFor) {
  SimulatedClock clock;
  TokenBucket bucket(kRate);
  EXPECT_EQ(bucket.Take(500, clock.Now()), clock.Now());
  EXPECT_EQ(bucket.Take(250, clock.Now()), clock.Now() + absl::Milliseconds(500));
  EXPECT_EQ(bucket.Take(1, clock.Now()), clock.Now() + absl::Milliseconds(750));
}

TEST(TokenBucketTest, AnIdleLineSavesUpNothing) {
  SimulatedClock clock;
  TokenBucket bucket(kRate);
  clock.Advance(absl::Hours(1));
  bucket.Take(1000, clock.Now());
  EXPECT_EQ(bucket.Take(1000, clock.Now()), clock.Now() + absl::Seconds(1));
}

TEST(TokenBucketTest, AMessageLongerThanASecondIsPaidForByTheNext) {
  SimulatedClock clock;
  TokenBucket bucket(kRate);
  EXPECT_EQ(bucket.Take(60'000, clock.Now()), clock.Now());
  EXPECT_EQ(bucket.Take(1, clock.Now()), clock.Now() + absl::Minutes(1));
}

TEST(TokenBucketTest, InAnyTimeGoesWhatTheRateAllowsAndOneMessage) {
  SimulatedClock clock;
  TokenBucket bucket(kRate);
  uint64_t sent = 0;
  const absl::Time start = clock.Now();
  for (int i = 1; i < 500; ++i) {
    const uint64_t size = static_cast<uint64_t>(i * 7919 % 400);
    const absl::Time go = bucket.Take(size, clock.Now());
    ASSERT_GE(go, clock.Now());
    clock.Advance(go - clock.Now() + absl::Milliseconds(i % 3 == 0 ? 100 : 0));
    sent += size;
    ASSERT_LE(static_cast<double>(sent), kRate * absl::ToDoubleSeconds(clock.Now() - start) + 400) << i;
  }
}

TEST(TokenBucketTest, WithoutALimitEverythingGoesAtOnce) {
  SimulatedClock clock;
  TokenBucket bucket(0);
  EXPECT_FALSE(bucket.limited());
  bucket.Take(UINT64_MAX, clock.Now());
  EXPECT_EQ(bucket.Take(UINT64_MAX, clock.Now()), clock.Now());
}

}  // namespace
}  // namespace tributary::worker
