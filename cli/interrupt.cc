#include "cli/interrupt.h"

#include <utility>

namespace tributary::cli {

void Interrupt::Raise() {
  std::lock_guard<std::mutex> lock(mutex_);
  raised_ = true;
  changed_.notify_all();
  for (const auto& [key, function] : functions_) {
    function();
  }
}

bool Interrupt::raised() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return raised_;
}

bool Interrupt::WaitFor(absl::Duration timeout) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), [this] { return raised_; });
}

Interrupt::Registration::Registration(Interrupt* interrupt, std::function<void()> function) : interrupt_(interrupt) {
  std::lock_guard<std::mutex> lock(interrupt_->mutex_);
  if (interrupt_->raised_) {
    function();
  }
  key_ = interrupt_->next_key_++;
  interrupt_->functions_.emplace(key_, std::move(function));
}

Interrupt::Registration::~Registration() {
  std::lock_guard<std::mutex> lock(interrupt_->mutex_);
  interrupt_->functions_.erase(key_);
}

}  // namespace tributary::cli
