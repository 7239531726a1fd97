#include "common/stop_signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

namespace tributary {
namespace {

TEST(StopSignals, AreTakenInsteadOfEndingTheProcess) {
  // On a thread of its own, which alone has them blocked.
  std::thread([] {
    BlockStopSignals();
    for (const int signal : {SIGTERM, SIGINT}) {
      raise(signal);
      EXPECT_EQ(TakeStopSignal(), signal);
    }
  }).join();
}

TEST(DaemonSignals, AreTakenAlsoBesideThreadsThatHaveThemUnblocked) {
  // Such as this one, and those that a library starts when it is loaded.
  std::thread([] {
    BlockDaemonSignals();
    for (const int signal : {SIGHUP, SIGTERM, SIGINT, SIGTERM}) {
      kill(getpid(), signal);
      EXPECT_EQ(TakeDaemonSignal(), signal);
    }
  }).join();
}

TEST(DaemonSignals, IncludeTheOneThatAsksToReadTheConfigurationAgain) {
  std::thread([] {
    BlockDaemonSignals();
    for (const int signal : {SIGHUP, SIGTERM, SIGINT}) {
      raise(signal);
      EXPECT_EQ(TakeDaemonSignal(), signal);
    }
  }).join();
}

}  // namespace
}  // namespace tributary
