// One thread that runs posted work in order: what reactors hand their events to, so that the engines need no locks.
#ifndef TRIBUTARY_COMMON_EXECUTOR_H_
#define TRIBUTARY_COMMON_EXECUTOR_H_

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>

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

// What `answer` returns on the executor's thread; nothing if that takes longer than `patience`, or after Stop(). Not from the executor's
// own thread.
template <typename Answer>
std::optional<Answer> AskWithin(SerialExecutor& executor, absl::Duration patience, std::function<Answer()> answer) {
  // A promise rather than absl::Notification: what passes through it is in an order that ThreadSanitizer sees.
  const auto promise = std::make_shared<std::promise<Answer>>();
  std::future<Answer> future = promise->get_future();
  executor.Post([promise, answer = std::move(answer)] { promise->set_value(answer()); });
  if (future.wait_for(absl::ToChronoNanoseconds(patience)) != std::future_status::ready) {
    return std::nullopt;
  }
  return future.get();
}

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_EXECUTOR_H_
