// One thread that runs posted work in order: what reactors hand their events to, so that the engines need no locks.
#ifndef TRIBUTARY_COMMON_EXECUTOR_H_
#define TRIBUTARY_COMMON_EXECUTOR_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"

namespace tributary {

// Thread-safe. Work runs on the executor's own thread, one piece at a time, in the order posted; timed work when due.
class SerialExecutor {
 public:
  explicit SerialExecutor(std::string name);
  // Stops as Stop() does.
  ~SerialExecutor();
  SerialExecutor(const SerialExecutor&) = delete;
  SerialExecutor& operator=(const SerialExecutor&) = delete;

  // Dropped after Stop().
  void Post(std::function<void()> work);
  void PostAfter(absl::Duration delay, std::function<void()> work);

  // Runs what was posted before (not what is due later), then ends the thread. Idempotent; not from the executor's own thread.
  void Stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_EXECUTOR_H_
