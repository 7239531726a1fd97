// A thread that serves many bridges.
#ifndef TRIBUTARY_COORDINATOR_GUARD_BRIDGE_LOOP_H_
#define TRIBUTARY_COORDINATOR_GUARD_BRIDGE_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/guard/bridge.h"
#include "coordinator/guard/poller.h"

namespace tributary::coordinator {

// Thread-safe.
class BridgeLoop {
 public:
  // What a connection may still do.
  struct Allowance {
    absl::Time until = absl::InfiniteFuture();            // by the monotonic clock
    absl::Time certificate_end = absl::InfiniteFuture();  // by the wall clock
    uint64_t bytes_up = UINT64_MAX;                       // of the client, from its first
  };
  // Called on the loop's thread, once for each connection, after its sockets were closed. DeadlineExceeded: its time is over.
  // Unauthenticated: its certificate has ended. Else an error of Bridge::Move, or what Close was given.
  using Closed = std::function<void(uint64_t number, const absl::Status& why)>;

  // ResourceExhausted: no descriptors.
  static absl::StatusOr<std::unique_ptr<BridgeLoop>> Start(Closed closed);
  // Closes all connections.
  ~BridgeLoop();

  // `number` is the caller's, and of one connection at a time.
  void Add(uint64_t number, std::unique_ptr<Bridge> bridge, const Allowance& allowance);
  // From now on. Neither does anything if the connection is gone.
  void Allow(uint64_t number, const Allowance& allowance);
  void Close(uint64_t number, const absl::Status& why);

 private:
  struct Connection {
    std::unique_ptr<Bridge> bridge;
    Allowance allowance;
    bool is_unfinished = false;  // in unfinished_
    absl::Time leaving_since = absl::InfiniteFuture();
    absl::Time stuck_since = absl::InfiniteFuture();  // there is something to take, and the client takes nothing
    uint64_t bytes_down = 0;                          // at that time
  };

  BridgeLoop(Poller poller, Closed closed);
  void Run();
  void Post(std::function<void()> work);
  void DoPosted();
  void Serve(uint64_t number);
  void Look(absl::Time now, absl::Time wall_now);
  void End(uint64_t number, const absl::Status& why);

  Poller poller_;
  const Closed closed_;
  std::unordered_map<uint64_t, Connection> connections_;  // on the thread
  std::vector<uint64_t> unfinished_;                      // those that may have more to move at once
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // under mutex_
  bool stopping_ = false;                      // under mutex_
  std::thread thread_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_BRIDGE_LOOP_H_
