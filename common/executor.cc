#include "common/executor.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "common/clock.h"

namespace tributary {

// std::condition_variable instead of absl::CondVar: its timed wait follows the monotonic clock, so a jump of the calendar neither
// fires nor delays timers.
struct SerialExecutor::State {
  using Work = std::function<void()>;

  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Work> ready;
  std::multimap<absl::Time, Work> timed;  // equal times stay in the order posted
  bool stopping = false;
  std::once_flag joined;
  std::thread thread;

  void Run() {
    std::unique_lock<std::mutex> lock(mutex);
    while (true) {
      MoveDueWork();
      if (!ready.empty()) {
        Work work = std::move(ready.front());
        ready.pop_front();
        lock.unlock();
        work();
        work = nullptr;  // what it captured is released before the lock is taken
        lock.lock();
      } else if (stopping) {
        return;
      } else if (timed.empty()) {
        wake.wait(lock);
      } else {
        wake.wait_for(lock, absl::ToChronoNanoseconds(timed.begin()->first - Clock::Real().Now()));
      }
    }
  }

  void MoveDueWork() {
    if (timed.empty() || stopping) {
      return;
    }
    const auto due_end = timed.upper_bound(Clock::Real().Now());
    for (auto it = timed.begin(); it != due_end; ++it) {
      ready.push_back(std::move(it->second));
    }
    timed.erase(timed.begin(), due_end);
  }
};

SerialExecutor::SerialExecutor(std::string name) : state_(std::make_unique<State>()) {
  State* state = state_.get();
  state->thread = std::thread([state] { state->Run(); });
  pthread_setname_np(state->thread.native_handle(), name.substr(0, 15).c_str());
}

SerialExecutor::~SerialExecutor() {
  Stop();
}

void SerialExecutor::Post(std::function<void()> work) {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    if (state_->stopping) {
      return;
    }
    state_->ready.push_back(std::move(work));
  }
  state_->wake.notify_one();
}

void SerialExecutor::PostAfter(absl::Duration delay, std::function<void()> work) {
  // A year is far beyond any wait here; the bound keeps the arithmetic of the timed wait from overflowing.
  const absl::Time due = Clock::Real().Now() + std::min(delay, absl::Hours(24 * 365));
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    if (state_->stopping) {
      return;
    }
    state_->timed.emplace(due, std::move(work));
  }
  state_->wake.notify_one();
}

void SerialExecutor::Stop() {
  std::multimap<absl::Time, State::Work> dropped;  // destroyed without the lock
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stopping = true;
    dropped.swap(state_->timed);
  }
  state_->wake.notify_one();
  std::call_once(state_->joined, [this] { state_->thread.join(); });
}

}  // namespace tributary
