#include "worker/token_bucket.h"

#include <gtest/gtest.h>

#include <tuple>

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

TEST(TokenBucketTest, WhatCannotBeHeldBackIsPaidForByTheRest) {
  SimulatedClock clock;
  TokenBucket bucket(kRate);
  uint64_t sent = 0;
  const absl::Time start = clock.Now();
  for (int minute = 0; minute < 60; ++minute) {
    // Seven tenths of the line, in one message.
    ASSERT_TRUE(bucket.Charge(42'000, clock.Now())) << minute;
    sent += 42'000;
    const absl::Time next = start + (minute + 1) * absl::Minutes(1);
    for (absl::Time go; (go = bucket.Take(100, clock.Now())) < next; sent += 100) {
      clock.Advance(go - clock.Now());
    }
    clock.Advance(next - clock.Now());
  }
  EXPECT_NEAR(static_cast<double>(sent), 3'600.0 * kRate, 60 * 200);
}

TEST(TokenBucketTest, ShortMessagesDoNotWipeOutTheDebtOfALongOne) {
  SimulatedClock clock;
  TokenBucket bucket(kRate);
  ASSERT_TRUE(bucket.Charge(16'000, clock.Now()));
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(bucket.Charge(2, clock.Now())) << i;
  }
  EXPECT_EQ(bucket.Take(1, clock.Now()), clock.Now() + absl::Milliseconds(16'020));
}

TEST(TokenBucketTest, NothingIsForgivenBeforeAMinuteOfItHasGone) {
  SimulatedClock clock;
  TokenBucket bucket(kRate);
  const absl::Time start = clock.Now();
  // At 1.5 times the rate.
  while (bucket.Charge(150, clock.Now())) {
    clock.Advance(absl::Milliseconds(100));
  }
  EXPECT_GE(clock.Now() - start, absl::Minutes(1));
}

TEST(TokenBucketTest, CommitsAndTransfersKeepToTheRateOverAnHour) {
  constexpr uint64_t kSlowLine = 16 << 10;
  constexpr uint64_t kCommit = 256 << 10;
  constexpr uint64_t kFrame = 4 << 10;
  SimulatedClock clock;
  TokenBucket bucket(kSlowLine);
  uint64_t sent = 0;
  absl::Time frame_at = clock.Now();
  for (int step = 0; step < 36'000; ++step) {
    // A commit a minute takes a quarter of the line; the next round's start and receipt follow it, and heartbeats at any time.
    for (const auto& [bytes, every, at] : {std::tuple<uint64_t, int, int>{kCommit, 600, 0}, {200, 600, 1}, {100, 600, 2}, {20, 100, 50}}) {
      if (step % every != at) {
        continue;
      }
      ASSERT_TRUE(bucket.Charge(bytes, clock.Now())) << step;
      sent += bytes;
    }
    for (; frame_at <= clock.Now(); sent += kFrame) {
      frame_at = bucket.Take(kFrame, clock.Now());
    }
    clock.Advance(absl::Milliseconds(100));
  }
  EXPECT_LE(sent, 3'600 * kSlowLine + kCommit);
  EXPECT_GE(sent, 3'600 * kSlowLine - kCommit) << "the transfers use what is left";
}

TEST(TokenBucketTest, WhatExceedsTheRateAloneIsNotOwedForEver) {
  SimulatedClock clock;
  TokenBucket bucket(kRate);
  const absl::Time end = clock.Now() + absl::Hours(1);
  absl::Time due = clock.Now();
  uint64_t sent = 0;
  bool forgiven = false;
  while (clock.Now() < end) {
    // Ten times the rate, and transfers when they may.
    forgiven |= !bucket.Charge(1'000, clock.Now());
    if (clock.Now() >= due) {
      due = bucket.Take(500, clock.Now());
      ASSERT_LE(due - clock.Now(), absl::Minutes(1));
      sent += 500;
    }
    clock.Advance(absl::Milliseconds(100));
  }
  EXPECT_TRUE(forgiven);
  EXPECT_GE(sent, 3'600 * kRate / 5) << "a quarter of the line is theirs";
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
