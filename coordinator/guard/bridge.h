// One connection behind the guard's door: bytes of a client, decrypted and watched, to gRPC, and back.
#ifndef TRIBUTARY_COORDINATOR_GUARD_BRIDGE_H_
#define TRIBUTARY_COORDINATOR_GUARD_BRIDGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/owned_descriptor.h"
#include "coordinator/guard/http2_watch.h"
#include "coordinator/guard/message_budget.h"
#include "coordinator/guard/tls_acceptor.h"

namespace tributary::coordinator {

// Between two sockets that do not block. What one side does not take now is kept, at most kPiece bytes each way, and nothing more is read
// for it meanwhile. Not thread-safe.
class Bridge {
 public:
  static constexpr size_t kPiece = 64 << 10;

  // `ssl` (null: plaintext) works on `socket`, and its handshake is done. `inner`: the guard's end of the pair whose other end gRPC has.
  // `messages`, `streams`: what the client shares with others of its identity.
  Bridge(OwnedDescriptor socket, SslPtr ssl, OwnedDescriptor inner, std::shared_ptr<MessageBudget> messages,
         std::shared_ptr<StreamBudget> streams = std::make_shared<StreamBudget>());

  // kMore: there may be more to move at once. kWait: until the sockets are ready again, as wanted() says.
  enum class Moved { kMore, kWait };
  // Moves a few pieces each way. Cancelled: the client has ended the connection. Unavailable: a side broke off. ResourceExhausted: the
  // client sent more than it may, or more messages of TLS than any client needs. Else the errors of Http2Watch::Look. After an error
  // nothing more can be moved.
  absl::StatusOr<Moved> Move(absl::Time now);

  // From time to time: what is wrong with the client, though it moves nothing. ResourceExhausted: a message should have come by now.
  absl::Status Look(absl::Time now) const { return watch_.LookAtTime(now); }

  // The events of poll(2) that the next Move waits for.
  struct Wanted {
    uint32_t socket;
    uint32_t inner;
  };
  Wanted wanted() const;

  int socket() const { return socket_.get(); }
  int inner() const { return inner_.get(); }
  // How much the client may send in all, as decrypted.
  void SetMostBytesUp(uint64_t most) { most_bytes_up_ = most; }
  // What the client has taken.
  uint64_t bytes_down() const { return bytes_down_; }
  // gRPC has ended the connection, and the client has been sent all: it is to hang up. Until then what it sends is thrown away, for a
  // system that closes a connection with unread bytes takes back the last words.
  bool leaving() const { return leaving_; }

 private:
  enum class Step { kMoved, kBlocked, kEnded };

  static void SawMessage(int written, int version, int type, const void* data, size_t size, SSL* ssl, void* bridge);
  absl::StatusOr<Step> MoveUp(absl::Time now);
  absl::StatusOr<Step> MoveDown();
  // The read callback of the BIO below: one piece of what came, as it is, and then "try again", whatever more is there.
  static int ReceivePiece(BIO* bio, char* data, int size);
  static BIO* MakePiecewise(Bridge* bridge);
  // What came from the client, decrypted, into `bytes`; *step: what to expect of the next call.
  absl::StatusOr<size_t> ReadClient(absl::Span<uint8_t> bytes, Step* step);
  absl::StatusOr<size_t> WriteClient(absl::Span<const uint8_t> bytes);
  absl::StatusOr<size_t> WriteInner(absl::Span<const uint8_t> bytes);

  OwnedDescriptor socket_;
  const SslPtr ssl_;
  OwnedDescriptor inner_;
  Http2Watch watch_;
  std::vector<uint8_t> up_;    // not taken by gRPC yet
  std::vector<uint8_t> down_;  // not taken by the client yet
  // Of the turn of ReadClient.
  size_t piece_left_ = 0;
  Step received_ = Step::kMoved;
  bool client_ended_ = false;
  bool inner_ended_ = false;  // gRPC sends no more
  bool inner_deaf_ = false;   // gRPC takes no more
  bool wants_write_ = false;  // TLS must write before it reads on
  bool leaving_ = false;
  int messages_ = 0;  // of TLS itself since the handshake
  uint64_t bytes_up_ = 0;
  uint64_t most_bytes_up_ = UINT64_MAX;
  uint64_t bytes_down_ = 0;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_BRIDGE_H_
