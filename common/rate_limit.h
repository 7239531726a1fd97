// How often somebody may do something.
#ifndef TRIBUTARY_COMMON_RATE_LIMIT_H_
#define TRIBUTARY_COMMON_RATE_LIMIT_H_

#include <algorithm>

#include "absl/time/time.h"

namespace tributary {

// `per_second` on average, and `burst` at once: a bucket of tokens. Not thread-safe.
class RateLimit {
 public:
  struct Options {
    double per_second = 0;
    double burst = 0;  // at least 1
  };
  explicit RateLimit(const Options& options) : options_(options), tokens_(options.burst) {}

  // Whether it may happen at `now`, which then counts. `now` never decreases.
  bool Take(absl::Time now) {
    if (now > since_) {
      tokens_ = std::min(options_.burst, tokens_ + options_.per_second * absl::ToDoubleSeconds(now - since_));
      since_ = now;
    }
    if (tokens_ < 1) {
      return false;
    }
    tokens_ -= 1;
    return true;
  }

 private:
  const Options options_;
  double tokens_;
  absl::Time since_ = absl::InfinitePast();
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_RATE_LIMIT_H_
