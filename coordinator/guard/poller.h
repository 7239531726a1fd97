// epoll(7) over keys, with a way to wake the thread that waits.
#ifndef TRIBUTARY_COORDINATOR_GUARD_POLLER_H_
#define TRIBUTARY_COORDINATOR_GUARD_POLLER_H_

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/owned_descriptor.h"

namespace tributary::coordinator {

// All but Wake on one thread.
class Poller {
 public:
  struct Event {
    uint64_t key;
    uint32_t events;  // of poll(2)
  };

  // ResourceExhausted: no descriptors.
  static absl::StatusOr<Poller> Create();

  // From now on waits for `events` of `descriptor`, and reports them by `key`; 0: no longer for any, not even for its end. Before a
  // descriptor is closed, it must be set to 0.
  void Watch(int descriptor, uint64_t key, uint32_t events);

  // At most `timeout`. What came; nothing after Wake or when time is up.
  const std::vector<Event>& Wait(absl::Duration timeout);

  // Makes the current or the next Wait return at once. Thread-safe.
  void Wake() const;

 private:
  Poller(OwnedDescriptor epoll, OwnedDescriptor wake) : epoll_(std::move(epoll)), wake_(std::move(wake)) {}

  OwnedDescriptor epoll_;
  OwnedDescriptor wake_;
  std::unordered_map<int, uint32_t> watched_;
  std::vector<Event> came_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_POLLER_H_
