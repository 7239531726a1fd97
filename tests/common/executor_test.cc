#include "common/executor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "absl/synchronization/notification.h"

namespace tributary {
namespace {

TEST(SerialExecutorTest, RunsWorkInTheOrderPosted) {
  std::vector<int> ran;
  SerialExecutor executor("test");
  for (int i = 0; i < 1000; ++i) executor.Post([&ran, i] { ran.push_back(i); });
  executor.Stop();
  std::vector<int> expected(1000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(ran, expected);
}

TEST(SerialExecutorTest, WorkMayPostWork) {
  SerialExecutor executor("test");
  absl::Notification done;
  executor.Post([&] { executor.Post([&] { done.Notify(); }); });
  done.WaitForNotification();
}

TEST(SerialExecutorTest, TimedWorkRunsInTheOrderItFallsDue) {
  std::vector<int> ran;
  absl::Notification done;
  SerialExecutor executor("test");
  executor.Post([&] {
    executor.PostAfter(absl::Milliseconds(40), [&] {
      ran.push_back(3);
      done.Notify();
    });
    executor.PostAfter(absl::Milliseconds(20), [&] { ran.push_back(2); });
    executor.PostAfter(absl::Milliseconds(-5), [&] { ran.push_back(1); });
  });
  done.WaitForNotification();
  executor.Stop();
  EXPECT_EQ(ran, (std::vector<int>{1, 2, 3}));
}

TEST(SerialExecutorTest, WorkForNowDoesNotWaitForTimedWork) {
  SerialExecutor executor("test");
  absl::Notification now;
  executor.PostAfter(absl::InfiniteDuration(), [] { FAIL(); });
  executor.Post([&] { now.Notify(); });
  now.WaitForNotification();
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
