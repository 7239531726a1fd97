#include "common/executor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "absl/synchronization/notification.h"

namespace tributary {
namespace {

// For what must happen, on a machine that may be busy.
constexpr absl::Duration kPatience = absl::Seconds(30);

TEST(SerialExecutorTest, RunsWorkInTheOrderPosted) {
  std::vector<int> ran;
  SerialExecutor executor("test");
  for (int i = 0; i < 1000; ++i) {
    executor.Post([&ran, i] { ran.push_back(i); });
  }
  executor.Stop();
  std::vector<int> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(ran, expected);
}

TEST(SerialExecutorTest, WorkMayPostWork) {
  SerialExecutor executor("test");
  absl::Notification done;
  executor.Post([&] { executor.Post([&] { done.Notify(); }); });
  EXPECT_TRUE(done.WaitForNotificationWithTimeout(kPatience));
}

TEST(SerialExecutorTest, TimedWorkRunsInTheOrderItFallsDue) {
  std::vector<int> ran;
  absl::Notification done;
  SerialExecutor executor("test");
  // All overdue, by so much that no pause between the calls can change their order.
  executor.Post([&] {
    executor.PostAfter(absl::Hours(-1), [&] {
      ran.push_back(3);
      done.Notify();
    });
    executor.PostAfter(absl::Hours(-3), [&] { ran.push_back(1); });
    executor.PostAfter(absl::Hours(-2), [&] { ran.push_back(2); });
  });
  EXPECT_TRUE(done.WaitForNotificationWithTimeout(kPatience));
  executor.Stop();
  EXPECT_EQ(ran, (std::vector<int>{1, 2, 3}));
}

TEST(SerialExecutorTest, WakesByItselfForWorkThatFallsDue) {
  SerialExecutor executor("test");
  absl::Notification done;
  executor.PostAfter(absl::Milliseconds(1), [&] { done.Notify(); });
  EXPECT_TRUE(done.WaitForNotificationWithTimeout(kPatience));
}

TEST(SerialExecutorTest, WorkForNowDoesNotWaitForTimedWork) {
  SerialExecutor executor("test");
  absl::Notification now;
  executor.PostAfter(absl::InfiniteDuration(), [] { FAIL(); });
  executor.Post([&] { now.Notify(); });
  EXPECT_TRUE(now.WaitForNotificationWithTimeout(kPatience));
}

TEST(SerialExecutorTest, AskedAnswersInItsTurnOrNotAtAll) {
  SerialExecutor executor("test");
  int before = 0;
  executor.Post([&] { before = 1; });
  EXPECT_EQ(AskWithin<int>(executor, kPatience, [&] { return before + 1; }), 2);

  std::promise<void> release;
  executor.Post([&] { release.get_future().wait(); });
  EXPECT_EQ(AskWithin<int>(executor, absl::ZeroDuration(), [] { return 1; }), std::nullopt) << "it is busy";
  release.set_value();
  executor.Stop();
  EXPECT_EQ(AskWithin<int>(executor, absl::ZeroDuration(), [] { return 1; }), std::nullopt) << "it has stopped";
}

TEST(SerialExecutorTest, StopRunsWhatWasPostedAndDropsTheRest) {
  int ran = 0;
  SerialExecutor executor("test");
  executor.PostAfter(absl::Hours(1), [&] { ran += 100; });
  executor.Post([&] { ++ran; });
  executor.Stop();
  executor.Post([&] { ran += 1000; });
  executor.PostAfter(absl::ZeroDuration(), [&] { ran += 1000; });
  executor.Stop();
  EXPECT_EQ(ran, 1);
}

}  // namespace
}  // namespace tributary
