// Ctrl-C as an object: main raises it from its signal thread, commands wait on it and cancel calls through it.
#ifndef TRIBUTARY_CLI_INTERRUPT_H_
#define TRIBUTARY_CLI_INTERRUPT_H_

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace tributary::cli {

// Thread-safe.
class Interrupt {
 public:
  // Runs every registered function. Once raised it stays raised.
  void Raise();
  bool raised() const;
  // Waits at most `timeout`; true at once when raised.
  bool WaitFor(absl::Duration timeout) const;

  // Runs `function` on Raise (or now, if raised) as long as it lives. `function` must not use the Interrupt.
  class Registration {
   public:
    Registration(Interrupt* interrupt, std::function<void()> function);
    ~Registration();
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;

   private:
    Interrupt* const interrupt_;
    int key_;
  };

 private:
  // Of the standard library: ThreadSanitizer does not see into a packaged Abseil.
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool raised_ ABSL_GUARDED_BY(mutex_) = false;
  int next_key_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int, std::function<void()>> functions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_INTERRUPT_H_
