#include "coordinator/guard/poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <limits>
#include <utility>

#include "absl/status/status.h"

namespace tributary::coordinator {
namespace {

constexpr uint64_t kWakeKey = std::numeric_limits<uint64_t>::max();
constexpr int kEventsAtOnce = 64;

}  // namespace

absl::StatusOr<Poller> Poller::Create() {
  OwnedDescriptor epoll(epoll_create1(EPOLL_CLOEXEC));
  OwnedDescriptor wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = kWakeKey;
  if (epoll.get() < 0 || wake.get() < 0 || epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) {
    return absl::ResourceExhaustedError("cannot wait for connections: out of descriptors; raise the limit (ulimit -n)");
  }
  return Poller(std::move(epoll), std::move(wake));
}

void Poller::Watch(int descriptor, uint64_t key, uint32_t events) {
  const auto found = watched_.find(descriptor);
  const bool is_watched = found != watched_.end();
  if (events == 0) {
    if (is_watched) {
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, descriptor, nullptr);
      watched_.erase(found);
    }
    return;
  }
  if (is_watched && found->second == events) {
    return;
  }
  epoll_event event = {};
  event.events = events;  // epoll's numbers are poll's
  event.data.u64 = key;
  epoll_ctl(epoll_.get(), is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, descriptor, &event);
  watched_[descriptor] = events;
}

const std::vector<Poller::Event>& Poller::Wait(absl::Duration timeout) {
  epoll_event events[kEventsAtOnce];
  const int count = epoll_wait(epoll_.get(), events, kEventsAtOnce, static_cast<int>(absl::ToInt64Milliseconds(timeout)));
  came_.clear();
  for (int i = 0; i < count; ++i) {
    if (events[i].data.u64 == kWakeKey) {
      eventfd_t ignored = 0;
      eventfd_read(wake_.get(), &ignored);
    } else {
      came_.push_back({events[i].data.u64, events[i].events});
    }
  }
  return came_;
}

void Poller::Wake() const {
  eventfd_write(wake_.get(), 1);
}

}  // namespace tributary::coordinator
