#include "common/stop_signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace tributary {
namespace {

std::atomic<bool> started_on_terminal{false};

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

sigset_t DaemonSignals() {
  sigset_t signals = StopSignals();
  sigaddset(&signals, SIGHUP);
  return signals;
}

int Take(const sigset_t& signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

}  // namespace

void BlockStopSignals() {
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

int TakeStopSignal() {
  return Take(StopSignals());
}

void BlockDaemonSignals() {
  started_on_terminal = isatty(STDERR_FILENO) == 1;
  const sigset_t signals = DaemonSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

int TakeDaemonSignal() {
  const int signal = Take(DaemonSignals());
  // A terminal that has hung up is none any more.
  const bool terminal_closed = started_on_terminal && isatty(STDERR_FILENO) != 1;
  return signal == SIGHUP && terminal_closed ? SIGTERM : signal;
}

}  // namespace tributary
