#include "coordinator/guard/bridge_loop.h"

#include <poll.h>

#include <algorithm>
#include <utility>

#include "absl/memory/memory.h"
#include "common/clock.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

// How often allowances are looked at.
constexpr absl::Duration kLookInterval = absl::Milliseconds(250);
// For a client to hang up after the last words.
constexpr absl::Duration kLeavingTime = absl::Seconds(1);
// How long a client may take nothing of what it is sent.
constexpr absl::Duration kStuckTime = absl::Minutes(1);

// A connection's two sockets.
uint64_t SocketKey(uint64_t number) {
  return 2 * number;
}
uint64_t InnerKey(uint64_t number) {
  return 2 * number + 1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BridgeLoop>> BridgeLoop::Start(Closed closed) {
  TRIBUTARY_ASSIGN_OR_RETURN(Poller poller, Poller::Create());
  auto loop = absl::WrapUnique(new BridgeLoop(std::move(poller), std::move(closed)));
  loop->thread_ = std::thread([loop = loop.get()] { loop->Run(); });
  return loop;
}

BridgeLoop::BridgeLoop(Poller poller, Closed closed) : poller_(std::move(poller)), closed_(std::move(closed)) {}

BridgeLoop::~BridgeLoop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  poller_.Wake();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void BridgeLoop::Add(uint64_t number, std::unique_ptr<Bridge> bridge, const Allowance& allowance) {
  // std::function wants what can be copied.
  Post([this, number, allowance, bridge = std::make_shared<std::unique_ptr<Bridge>>(std::move(bridge))] {
    Connection& connection = connections_[number];
    connection.bridge = std::move(*bridge);
    connection.allowance = allowance;
    connection.bridge->SetMostBytesUp(allowance.bytes_up);
    // TLS may have read more than the handshake, which no event tells.
    Serve(number);
  });
}

void BridgeLoop::Allow(uint64_t number, const Allowance& allowance) {
  Post([this, number, allowance] {
    if (const auto found = connections_.find(number); found != connections_.end()) {
      found->second.allowance = allowance;
      found->second.bridge->SetMostBytesUp(allowance.bytes_up);
    }
  });
}

void BridgeLoop::Close(uint64_t number, const absl::Status& why) {
  Post([this, number, why] { End(number, why); });
}

void BridgeLoop::Post(std::function<void()> work) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    posted_.push_back(std::move(work));
  }
  poller_.Wake();
}

void BridgeLoop::Run() {
  BlockSigpipe();
  absl::Time look_at = Clock::Real().Now();
  while (true) {
    for (const Poller::Event& event : poller_.Wait(unfinished_.empty() ? kLookInterval : absl::ZeroDuration())) {
      Serve(event.key / 2);
    }
    for (const uint64_t number : std::exchange(unfinished_, {})) {
      if (const auto found = connections_.find(number); found != connections_.end()) {
        found->second.is_unfinished = false;
        Serve(number);
      }
    }
    DoPosted();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) {
        break;
      }
    }
    if (const absl::Time now = Clock::Real().Now(); now >= look_at) {
      look_at = now + kLookInterval;
      Look(now, Clock::Real().WallNow());
    }
  }
  DoPosted();
  while (!connections_.empty()) {
    End(connections_.begin()->first, absl::CancelledError("the coordinator stops"));
  }
}

void BridgeLoop::DoPosted() {
  std::vector<std::function<void()>> posted;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    posted.swap(posted_);
  }
  for (const std::function<void()>& work : posted) {
    work();
  }
}

void BridgeLoop::Serve(uint64_t number) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) {
    return;
  }
  Connection& connection = found->second;
  Bridge& bridge = *connection.bridge;
  const absl::Time now = Clock::Real().Now();
  const absl::StatusOr<Bridge::Moved> moved = bridge.Move(now);
  if (!moved.ok()) {
    End(number, moved.status());
    return;
  }
  if (*moved == Bridge::Moved::kMore && !connection.is_unfinished) {
    connection.is_unfinished = true;
    unfinished_.push_back(number);
  }
  if (bridge.leaving()) {
    connection.leaving_since = std::min(connection.leaving_since, now);
  }
  const Bridge::Wanted wanted = bridge.wanted();
  if ((wanted.socket & POLLOUT) == 0) {
    connection.stuck_since = absl::InfiniteFuture();
  } else if (connection.stuck_since == absl::InfiniteFuture() || connection.bytes_down != bridge.bytes_down()) {
    connection.stuck_since = now;
    connection.bytes_down = bridge.bytes_down();
  }
  poller_.Watch(bridge.socket(), SocketKey(number), wanted.socket);
  poller_.Watch(bridge.inner(), InnerKey(number), wanted.inner);
}

void BridgeLoop::Look(absl::Time now, absl::Time wall_now) {
  std::vector<std::pair<uint64_t, absl::Status>> over;
  for (const auto& [number, connection] : connections_) {
    if (wall_now >= connection.allowance.certificate_end) {
      over.emplace_back(number, absl::UnauthenticatedError("its certificate has ended"));
    } else if (now >= connection.allowance.until) {
      over.emplace_back(number, absl::DeadlineExceededError("its time is over"));
    } else if (now - connection.stuck_since >= kStuckTime) {
      over.emplace_back(number, absl::DeadlineExceededError("it does not read"));
    } else if (now - connection.leaving_since >= kLeavingTime) {
      over.emplace_back(number, absl::CancelledError("ended by the coordinator"));
    } else if (const absl::Status status = connection.bridge->Look(now); !status.ok()) {
      over.emplace_back(number, status);
    }
  }
  for (const auto& [number, why] : over) {
    End(number, why);
  }
}

void BridgeLoop::End(uint64_t number, const absl::Status& why) {
  const auto found = connections_.find(number);
  if (found == connections_.end()) {
    return;
  }
  poller_.Watch(found->second.bridge->socket(), SocketKey(number), 0);
  poller_.Watch(found->second.bridge->inner(), InnerKey(number), 0);
  connections_.erase(found);
  closed_(number, why);
}

}  // namespace tributary::coordinator
