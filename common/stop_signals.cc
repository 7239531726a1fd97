#include "common/stop_signals.h"

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

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

// Runs on a thread that was there before the signals were blocked: a library's, OpenBLAS's for one, started when it was loaded. From now on
// this thread leaves them alone, and the one that waits for them gets this one.
void PassOn(int signal, siginfo_t* /*info*/, void* context) {
  const int error = errno;
  sigset_t& mask = static_cast<ucontext_t*>(context)->uc_sigmask;
  for (const int daemon_signal : {SIGTERM, SIGINT, SIGHUP}) {
    sigaddset(&mask, daemon_signal);
  }
  kill(getpid(), signal);
  errno = error;
}

void Block(const sigset_t& signals) {
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = PassOn;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigfillset(&action.sa_mask);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    if (sigismember(&signals, signal) == 1) {
      sigaction(signal, &action, nullptr);
    }
  }
}

int Take(const sigset_t& signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

}  // namespace

void BlockStopSignals() {
  Block(StopSignals());
}

int TakeStopSignal() {
  return Take(StopSignals());
}

void BlockDaemonSignals() {
  started_on_terminal = isatty(STDERR_FILENO) == 1;
  Block(DaemonSignals());
}

int TakeDaemonSignal() {
  const int signal = Take(DaemonSignals());
  // A terminal that has hung up is none any more.
  const bool terminal_closed = started_on_terminal && isatty(STDERR_FILENO) != 1;
  return signal == SIGHUP && terminal_closed ? SIGTERM : signal;
}

}  // namespace tributary
