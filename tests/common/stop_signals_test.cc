#include "common/stop_signals.h"

#include <gtest/gtest.h>
#include <signal.h>

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
