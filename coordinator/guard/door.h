// Accepts connections and performs their TLS handshakes. Whoever has no certificate costs a handshake and no more.
#ifndef TRIBUTARY_COORDINATOR_GUARD_DOOR_H_
#define TRIBUTARY_COORDINATOR_GUARD_DOOR_H_

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/listening.h"
#include "common/tls.h"
#include "coordinator/guard/poller.h"
#include "coordinator/guard/tls_acceptor.h"

namespace tributary::coordinator {

// A thread of its own. Handshakes are bounded in number, in all and by address, and in time. One more than that takes the place of the
// oldest: an honest handshake is over in a moment, one that only occupies a place is not.
class Door {
 public:
  static constexpr size_t kHandshakes = 256;
  static constexpr size_t kHandshakesOfAddress = 64;
  static constexpr absl::Duration kHandshakeTime = absl::Seconds(10);

  // Who came in.
  struct Guest {
    OwnedDescriptor socket;         // does not block
    SslPtr ssl;                     // null: plaintext
    std::string address;            // "192.0.2.1:40000", "[2001:db8::1]:40000"
    ClientCertificate certificate;  // in plaintext without URIs, and valid for ever
  };
  struct Handlers {
    std::function<void(Guest)> came_in;
    // An attempt from `address` was ended: no valid certificate, not TLS, too slow, or its place was needed.
    std::function<void(const std::string& address, const absl::Status& why)> turned_away;
    // Four times a second at least, whatever happens.
    std::function<void(absl::Time now)> ticked;
  };

  // `certificates`: null for plaintext, where `proof` has no meaning. The handlers are called on the door's thread. ResourceExhausted: no
  // descriptors. Internal: the certificate cannot be used.
  static absl::StatusOr<std::unique_ptr<Door>> Open(Listeners listeners, CertificateSource certificates, ClientProof proof,
                                                    Handlers handlers);
  ~Door();

  // Nobody comes in any more. When it returns, no handler is running or will be. Idempotent.
  void Shut();

 private:
  struct Handshake {
    uint64_t number;
    OwnedDescriptor socket;
    SslPtr ssl;
    std::string host;  // that is bounded: an IPv4 address, the first half of an IPv6 address
    std::string address;
    absl::Time until;
    // It failed, and the client is being told: what it still sends is thrown away, or the system would take back our last words.
    bool failed = false;
  };

  Door(Listeners listeners, std::unique_ptr<TlsAcceptor> acceptor, Handlers handlers, Poller poller);
  void Run();
  void Accept(int listener);
  void EndThoseOverdue(absl::Time now);
  void Begin(OwnedDescriptor socket, std::string host, std::string address);
  void Continue(std::list<Handshake>::iterator handshake);
  void Fail(std::list<Handshake>::iterator handshake, const std::string& why);
  void TurnAway(std::list<Handshake>::iterator handshake, const absl::Status& why);
  std::list<Handshake>::iterator Remove(std::list<Handshake>::iterator handshake);
  void Rest();

  Listeners listeners_;
  const std::unique_ptr<TlsAcceptor> acceptor_;
  const Handlers handlers_;
  // All below on the thread, but stopping_.
  Poller poller_;
  std::list<Handshake> handshakes_;  // oldest first
  std::map<uint64_t, std::list<Handshake>::iterator> by_number_;
  std::map<std::string, size_t> by_host_;
  uint64_t next_number_ = 0;
  absl::Time rests_until_ = absl::InfinitePast();
  std::mutex mutex_;
  bool stopping_ = false;  // under mutex_
  std::thread thread_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_DOOR_H_
