// The guard in front of a gRPC server: accepts, terminates TLS, bounds what a peer may have and do, and hands the connection on
// (docs/adr/0010-tls-ends-inside-the-coordinator.md).
#ifndef TRIBUTARY_COORDINATOR_GUARD_GUARD_H_
#define TRIBUTARY_COORDINATOR_GUARD_GUARD_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rare_line.h"
#include "common/tls.h"
#include "coordinator/guard/bridge_loop.h"
#include "coordinator/guard/door.h"
#include "coordinator/guard/message_budget.h"
#include "coordinator/guard/peer_table.h"
#include "coordinator/metrics.h"

namespace tributary::coordinator {

// Whether a peer's identity is one that the server works for. A stranger may stay just long enough to be told why not.
enum class Belonging { kMember, kStranger };

// Thread-safe.
class Guard {
 public:
  // What to do with one connection too many.
  enum class Full { kCloseNew, kCloseOldest };

  struct Options {
    // For messages: "listen".
    std::string name = "";
    // Null: plaintext.
    CertificateSource certificates = nullptr;
    ClientProof proof = ClientProof::kCertificate;
    // Of connections behind the door. 0: as many as the descriptors of this process are good for.
    size_t connections = 0;
    // Of those with the same certificate names; in plaintext, without names, not bounded.
    size_t connections_of_identity = 16;
    // Of messages that have begun and not ended, of all connections with the same certificate names; in plaintext, of each connection.
    uint64_t message_bytes_of_identity = MessageBudget::kMostOfOne;
    Full full = Full::kCloseNew;
    // A connection is closed after this, or when its certificate ends.
    absl::Duration lifetime = absl::InfiniteDuration();
    // Counts connections. Must outlive the guard.
    CoordinatorMetrics* metrics = &CoordinatorMetrics::None();
  };
  // Takes over a connected socket that does not block, from whose other end the peer speaks HTTP/2 in plaintext. Called on the guard's
  // thread that accepts.
  using HandOver = std::function<void(int descriptor)>;
  // Asked when a peer comes in, and again by Review. Null: all are members.
  using Belongs = std::function<Belonging(const Peer&)>;
  // Whether the connection may be closed for a newer one with the same certificate names. Null: none may.
  using Yields = std::function<bool(const Peer&)>;

  // Listens at once; nobody comes in before Admit. Errors as Listen's; ResourceExhausted: no descriptors.
  static absl::StatusOr<std::unique_ptr<Guard>> Start(const std::string& listen, Options options);
  // Closes all connections.
  ~Guard();

  // The port listened on.
  int port() const { return port_; }
  const PeerTable& peers() const { return peers_; }

  // From now on connections are taken. Once.
  absl::Status Admit(Belongs belonging, HandOver hand_over, Yields yields = nullptr);
  // No new connection; those that are open stay.
  void StopAdmitting();
  // Waits until all connections have ended by themselves, at most for `time`.
  void AwaitEmpty(absl::Duration time);
  // Asks again who is a member: connections of those who no longer are become a stranger's.
  void Review();

 private:
  // All connections whose certificates have the same names.
  struct Namesakes {
    size_t connections = 0;
    std::shared_ptr<MessageBudget> messages;
    std::shared_ptr<StreamBudget> streams;
    absl::Time left = absl::InfinitePast();  // the last of them
  };
  struct Open {
    Peer peer;
    Belonging belonging = Belonging::kMember;
    BridgeLoop* loop = nullptr;
    int inner_of_grpc = -1;
    bool closing = false;  // its place was needed
  };

  Guard(Listeners listeners, Options options);
  void CameIn(Door::Guest guest);
  void Gone(uint64_t number, const absl::Status& why);
  void Refused(ConnectionRefusal reason, const Peer& peer, absl::string_view why);
  // On the door's thread, now and then.
  void Tidy(absl::Time now);
  Belonging BelongingOf(const Peer& peer) const;
  BridgeLoop::Allowance AllowanceOf(const Peer& peer, Belonging belonging) const;
  // Under mutex_: whether one more like `peer` has a place; closes the oldest for it if it may.
  absl::Status MakeRoom(const Peer& peer, Belonging belonging);
  absl::Status MakeRoomAmongNamesakes(const Peer& peer, size_t most);
  void CloseFor(uint64_t number, Open& connection, absl::string_view why);
  // Under mutex_: counts one more like `peer`. What it shares with the others.
  const Namesakes& TakePlace(const Peer& peer);

  const Options options_;
  const size_t most_;
  Listeners listeners_;
  const int port_;
  PeerTable peers_;
  std::atomic<uint64_t> message_bytes_{0};    // of all budgets
  std::atomic<int> tidyings_due_{0};          // how often memory is still to be given back
  absl::Time tidied_ = absl::InfinitePast();  // on the door's thread
  Belongs belongs_;
  HandOver hand_over_;
  Yields yields_;
  std::mutex mutex_;
  std::condition_variable emptied_;
  uint64_t last_number_ = 0;       // under mutex_, as all below
  std::map<uint64_t, Open> open_;  // oldest first
  std::map<std::vector<std::string>, Namesakes> with_uris_;
  std::map<ConnectionRefusal, RareLine> lines_;  // by reason
  std::vector<std::unique_ptr<BridgeLoop>> loops_;
  std::unique_ptr<Door> door_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_GUARD_H_
