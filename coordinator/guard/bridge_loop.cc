#include "coordinator/guard/bridge_loop.h"

#include <poll.h>
#include <pthread.h>

#include <csignal>
#include <utility>

#include "absl/memory/memory.h"
#include "common/clock.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

// How often allowances are looked at.
constexpr absl::Duration kLookInterval = absl::Milliseconds(250);
// How long a client that does not read may keep a connection that gRPC has ended.
constexpr absl::Duration kEndingTime = absl::Seconds(10);

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
    connections_[number] = {std::move(*bridge), allowance};
    // TLS may have read more than the handshake, which no event tells.
    Serve(number);
  });
}

void BridgeLoop::Allow(uint64_t number, const Allowance& allowance) {
  Post([this, number, allowance] {
    if (const auto found = connections_.find(number); found != connections_.end()) {
      found->second.allowance = allowance;
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
  // OpenSSL writes to sockets whose other side may be gone.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  absl::Time look_at = Clock::Real().Now();
  while (true) {
    for (const Poller::Event& event : poller_.Wait(unfinished_.empty() ? kLookInterval : absl::ZeroDuration())) {
      Serve(event.key / 2);
    }
    for (const uint64_t number : std::exchange(unfinished_, {})) {
      Serve(number);
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) {
        break;
      }
    }
    DoPosted();
    if (const absl::Time now = Clock::Real().Now(); now >= look_at) {
      look_at = now + kLookInterval;
      Look(Clock::Real().WallNow());
    }
  }
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
  Bridge& bridge = *found->second.bridge;
  const absl::StatusOr<Bridge::Moved> moved = bridge.Move(Clock::Real().Now());
  if (!moved.ok()) {
    End(number, moved.status());
    return;
  }
  if (bridge.bytes_up() > found->second.allowance.bytes_up) {
    End(number, absl::ResourceExhaustedError("it sent more than it was allowed"));
    return;
  }
  if (*moved == Bridge::Moved::kMore) {
    unfinished_.push_back(number);
  }
  if (bridge.ending() && found->second.ending_since == absl::InfiniteFuture()) {
    found->second.ending_since = Clock::Real().WallNow();
  }
  const Bridge::Wanted wanted = bridge.wanted();
  poller_.Watch(bridge.socket(), SocketKey(number), wanted.socket);
  poller_.Watch(bridge.inner(), InnerKey(number), wanted.inner);
}

void BridgeLoop::Look(absl::Time wall_now) {
  std::vector<uint64_t> over;
  for (const auto& [number, connection] : connections_) {
    if (wall_now >= connection.allowance.until || wall_now - connection.ending_since >= kEndingTime) {
      over.push_back(number);
    }
  }
  for (const uint64_t number : over) {
    End(number, absl::DeadlineExceededError("its time is over"));
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
