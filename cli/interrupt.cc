#include "cli/interrupt.h"

#include <utility>

namespace tributary::cli {

void Interrupt::Raise() {
  absl::MutexLock lock(&mutex_);
  raised_ = true;
  for (const auto& [key, function] : functions_) function();
}

bool Interrupt::raised() const {
  absl::MutexLock lock(&mutex_);
  return raised_;
}

bool Interrupt::WaitFor(absl::Duration timeout) const {
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&raised_), timeout);
}

Interrupt::Registration::Registration(Interrupt* interrupt, std::function<void()> function) : interrupt_(interrupt) {
  absl::MutexLock lock(&interrupt_->mutex_);
  if (interrupt_->raised_) function();
  key_ = interrupt_->next_key_++;
  interrupt_->functions_.emplace(key_, std::move(function));
}

Interrupt::Registration::~Registration() {
  absl::MutexLock lock(&interrupt_->mutex_);
  interrupt_->functions_.erase(key_);
}

}  // namespace tributary::cli
