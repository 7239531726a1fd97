#include "coordinator/guard/peer_table.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"

namespace tributary::coordinator {

void PeerTable::Insert(int descriptor, Peer peer) {
  const std::lock_guard<std::mutex> lock(mutex_);
  peers_[descriptor] = std::move(peer);
}

void PeerTable::Erase(int descriptor, uint64_t connection) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = peers_.find(descriptor);
  if (found != peers_.end() && found->second.connection == connection) {
    peers_.erase(found);
  }
}

std::optional<Peer> PeerTable::Find(absl::string_view grpc_peer) const {
  int descriptor = 0;
  if (!absl::ConsumePrefix(&grpc_peer, "fd:") || !absl::SimpleAtoi(grpc_peer, &descriptor)) {
    return std::nullopt;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = peers_.find(descriptor);
  return found == peers_.end() ? std::nullopt : std::make_optional(found->second);
}

}  // namespace tributary::coordinator
