// Paces what goes over a line: so many bytes a second, averaged over a second or so.
#ifndef TRIBUTARY_WORKER_TOKEN_BUCKET_H_
#define TRIBUTARY_WORKER_TOKEN_BUCKET_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

namespace tributary::worker {

// A bucket that holds one message and may go into debt: a message goes when the bytes before it have been paid for. So in any time T at
// most rate * T bytes go, and one message; an idle line saves up nothing. Only what cannot be held back may exceed that. Not thread-safe.
class TokenBucket {
 public:
  // `rate`: bytes per second; 0: everything may go at once.
  explicit TokenBucket(uint64_t rate) : rate_(rate) {}

  bool limited() const { return rate_ != 0; }
  uint64_t rate() const { return rate_; }

  // Takes `bytes` for a message, and returns when it may go: at `now` or later. `now` never decreases.
  absl::Time Take(uint64_t bytes, absl::Time now) {
    if (!limited()) {
      return now;
    }
    const absl::Time go = std::max(now, free_at_);
    free_at_ = go + Cost(bytes);
    return go;
  }

  // Charges a message that goes at once, whatever is owed. Such messages may use up three quarters of the line, over a minute and the
  // length of one of them; what of a message goes beyond is forgiven, so that Take goes on to give its messages their turns. False: some
  // was forgiven, and bytes taken and charged together exceed the rate by as much.
  bool Charge(uint64_t bytes, absl::Time now) {
    if (!limited()) {
      return true;
    }
    const absl::Duration share = Cost(bytes) / kMaxShare;
    charged_until_ = std::max(now, charged_until_) + share;
    // What a long message was allowed holds for those after it too: they are not its debt.
    allowed_until_ = std::max(allowed_until_, now + kBurst + share);
    const absl::Duration excess = std::clamp(charged_until_ - allowed_until_, absl::ZeroDuration(), share);
    charged_until_ -= excess;
    free_at_ = std::max(now, free_at_) + (share - excess) * kMaxShare;
    return excess == absl::ZeroDuration();
  }

 private:
  static constexpr double kMaxShare = 0.75;
  static constexpr absl::Duration kBurst = absl::Minutes(1);

  absl::Duration Cost(uint64_t bytes) const { return absl::Seconds(static_cast<double>(bytes) / static_cast<double>(rate_)); }

  const uint64_t rate_;
  // When what was taken so far has been paid for.
  absl::Time free_at_ = absl::InfinitePast();
  // When what was charged so far has used up its share of the line.
  absl::Time charged_until_ = absl::InfinitePast();
  // How far that may reach before anything is forgiven.
  absl::Time allowed_until_ = absl::InfinitePast();
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_TOKEN_BUCKET_H_
