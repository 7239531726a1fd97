// What messages that have begun and not ended may take of memory: gRPC keeps all that came of a message until it is whole.
#ifndef TRIBUTARY_COORDINATOR_GUARD_MESSAGE_BUDGET_H_
#define TRIBUTARY_COORDINATOR_GUARD_MESSAGE_BUDGET_H_

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace tributary::coordinator {

// The bytes of all connections of one identity, within those of all identities together. Thread-safe.
class MessageBudget {
 public:
  // Two of the longest messages (proto/wire_limits.h).
  static constexpr uint64_t kMostOfOne = 8 << 20;
  static constexpr uint64_t kMostOfAll = 256 << 20;
  // Each connection's own, whoever has used up the rest: who has stolen a key must not end the connection of the key's owner.
  static constexpr uint64_t kGranted = 1 << 20;

  // `in_all`: the bytes of all identities; must outlive the budget.
  explicit MessageBudget(std::atomic<uint64_t>* in_all, uint64_t most = kMostOfOne) : in_all_(in_all), most_(most) {}
  MessageBudget(const MessageBudget&) = delete;
  MessageBudget& operator=(const MessageBudget&) = delete;

  // Counts `bytes` more, of a connection that has `of_connection` with them. False: that is more than there may be; they are counted, and
  // to be given back, all the same.
  bool Take(uint64_t bytes, uint64_t of_connection) {
    const uint64_t own = bytes_.fetch_add(bytes) + bytes;
    const uint64_t in_all = in_all_->fetch_add(bytes) + bytes;
    return (own <= most_ && in_all <= kMostOfAll) || of_connection <= std::min(most_, kGranted);
  }
  void GiveBack(uint64_t bytes) {
    bytes_.fetch_sub(bytes);
    in_all_->fetch_sub(bytes);
  }

 private:
  std::atomic<uint64_t>* const in_all_;
  const uint64_t most_;
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_MESSAGE_BUDGET_H_
