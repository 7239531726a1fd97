#include "coordinator/guard/door.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

constexpr absl::Duration kWaitAtMost = absl::Milliseconds(250);
// Accepted in a row before handshakes have their turn.
constexpr int kAcceptsAtOnce = 32;
// Without descriptors or memory, accepting is tried again after this.
constexpr absl::Duration kRest = absl::Milliseconds(100);
// For a client to read why its handshake failed.
constexpr absl::Duration kFarewell = absl::Seconds(1);
// What was sent and is not acknowledged for so long was sent to nobody.
constexpr unsigned kUserTimeoutMs = 60'000;
// A handshake's key is its number; a listener's this and its place.
constexpr uint64_t kListenerKey = uint64_t{1} << 62;

// OpenSSL's words; of a certificate that is refused also what is wrong with it.
std::string WhyItFailed(const SSL& ssl) {
  const std::string words = TakeSslError();
  if (words.empty()) {
    return "it ended the handshake";
  }
  const auto verified = SSL_get_verify_result(&ssl);
  return verified == X509_V_OK ? words : absl::StrCat(words, ": ", X509_verify_cert_error_string(verified));
}

struct Source {
  std::string host;
  std::string address;
};

Source SourceOf(const sockaddr_storage& from) {
  char text[INET6_ADDRSTRLEN] = "?";
  if (from.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(from);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      inet_ntop(AF_INET, v6.sin6_addr.s6_addr + 12, text, sizeof text);
      return {text, absl::StrCat(text, ":", ntohs(v6.sin6_port))};
    }
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    // Whoever has one address of a /64 has all.
    return {std::string(reinterpret_cast<const char*>(v6.sin6_addr.s6_addr), 8), absl::StrCat("[", text, "]:", ntohs(v6.sin6_port))};
  }
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(from);
  inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
  return {text, absl::StrCat(text, ":", ntohs(v4.sin_port))};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Door>> Door::Open(Listeners listeners, CertificateSource certificates, ClientProof proof,
                                                 Handlers handlers) {
  TRIBUTARY_ASSIGN_OR_RETURN(Poller poller, Poller::Create());
  auto acceptor = certificates == nullptr ? nullptr : std::make_unique<TlsAcceptor>(std::move(certificates), proof);
  auto door = absl::WrapUnique(new Door(std::move(listeners), std::move(acceptor), std::move(handlers), std::move(poller)));
  if (door->acceptor_ != nullptr) {
    TRIBUTARY_RETURN_IF_ERROR(door->acceptor_->Refresh());
  }
  door->thread_ = std::thread([door = door.get()] { door->Run(); });
  return door;
}

Door::Door(Listeners listeners, std::unique_ptr<TlsAcceptor> acceptor, Handlers handlers, Poller poller)
    : listeners_(std::move(listeners)), acceptor_(std::move(acceptor)), handlers_(std::move(handlers)), poller_(std::move(poller)) {}

Door::~Door() {
  Shut();
}

void Door::Shut() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  poller_.Wake();
  if (thread_.joinable()) {
    thread_.join();
  }
  listeners_.sockets.clear();
}

void Door::Run() {
  BlockSigpipe();
  while (true) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) {
        break;
      }
    }
    const bool rests = Clock::Real().Now() < rests_until_;
    for (size_t i = 0; i < listeners_.sockets.size(); ++i) {
      poller_.Watch(listeners_.sockets[i].get(), kListenerKey + i, rests ? 0 : POLLIN);
    }
    for (const Poller::Event& event : poller_.Wait(rests ? kRest : kWaitAtMost)) {
      if (event.key >= kListenerKey) {
        Accept(listeners_.sockets[event.key - kListenerKey].get());
      } else if (const auto found = by_number_.find(event.key); found != by_number_.end()) {
        Continue(found->second);
      }
    }
    EndThoseOverdue(Clock::Real().Now());
    handlers_.ticked(Clock::Real().Now());
  }
  while (!handshakes_.empty()) {
    Remove(handshakes_.begin());
  }
}

void Door::Accept(int listener) {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    sockaddr_storage from = {};
    socklen_t size = sizeof from;
    OwnedDescriptor socket(accept4(listener, reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (socket.get() < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        Rest();
      }
      // Of a connection that is gone again (ECONNABORTED, and on Linux any error of the network), nothing is left to do.
      return;
    }
    const int on = 1;
    setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(socket.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &kUserTimeoutMs, sizeof kUserTimeoutMs);
    Source source = SourceOf(from);
    Begin(std::move(socket), std::move(source.host), std::move(source.address));
  }
}

// Makes room by ending the oldest handshake, and does not accept for a while.
void Door::Rest() {
  if (!handshakes_.empty()) {
    TurnAway(handshakes_.begin(), absl::ResourceExhaustedError("the coordinator is out of descriptors or memory"));
  }
  rests_until_ = Clock::Real().Now() + kRest;
}

void Door::Begin(OwnedDescriptor socket, std::string host, std::string address) {
  if (acceptor_ == nullptr) {
    handlers_.came_in({std::move(socket), nullptr, std::move(address), {{}, {absl::InfinitePast(), absl::InfiniteFuture()}}});
    return;
  }
  absl::StatusOr<SslPtr> ssl = acceptor_->Accept(socket.get());
  if (!ssl.ok()) {
    handlers_.turned_away(address, ssl.status());
    return;
  }
  const absl::Status crowded = absl::ResourceExhaustedError("its place was needed: too many handshakes at once");
  if (by_host_[host] >= kHandshakesOfAddress) {
    TurnAway(std::find_if(handshakes_.begin(), handshakes_.end(), [&](const Handshake& other) { return other.host == host; }), crowded);
  }
  if (handshakes_.size() >= kHandshakes) {
    TurnAway(handshakes_.begin(), crowded);
  }
  ++by_host_[host];
  handshakes_.push_back(
      {next_number_++, std::move(socket), *std::move(ssl), std::move(host), std::move(address), Clock::Real().Now() + kHandshakeTime});
  const auto handshake = std::prev(handshakes_.end());
  by_number_[handshake->number] = handshake;
  Continue(handshake);
}

void Door::EndThoseOverdue(absl::Time now) {
  for (auto handshake = handshakes_.begin(); handshake != handshakes_.end();) {
    const auto next = std::next(handshake);
    if (handshake->until <= now) {
      TurnAway(handshake, absl::DeadlineExceededError("the handshake took too long"));
    }
    handshake = next;
  }
}

void Door::Continue(std::list<Handshake>::iterator handshake) {
  if (handshake->failed) {
    char thrown_away[4096];
    const ssize_t size = recv(handshake->socket.get(), thrown_away, sizeof thrown_away, 0);
    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR)) {
      Remove(handshake);
    }
    return;
  }
  SSL* const ssl = handshake->ssl.get();
  if (const int result = SSL_do_handshake(ssl); result != 1) {
    const int error = SSL_get_error(ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
      poller_.Watch(handshake->socket.get(), handshake->number, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT);
      return;
    }
    Fail(handshake, WhyItFailed(*ssl));
    return;
  }
  absl::StatusOr<ClientCertificate> certificate = acceptor_->CertificateOf(*ssl);
  if (!certificate.ok()) {
    TurnAway(handshake, certificate.status());
    return;
  }
  poller_.Watch(handshake->socket.get(), handshake->number, 0);
  Guest guest = {std::move(handshake->socket), std::move(handshake->ssl), handshake->address, *std::move(certificate)};
  Remove(handshake);
  handlers_.came_in(std::move(guest));
}

void Door::Fail(std::list<Handshake>::iterator handshake, const std::string& why) {
  // OpenSSL has sent the alert.
  shutdown(handshake->socket.get(), SHUT_WR);
  handshake->failed = true;
  handshake->until = Clock::Real().Now() + kFarewell;
  poller_.Watch(handshake->socket.get(), handshake->number, POLLIN);
  handlers_.turned_away(handshake->address, absl::UnauthenticatedError(why));
}

void Door::TurnAway(std::list<Handshake>::iterator handshake, const absl::Status& why) {
  const std::string address = handshake->address;
  const bool is_told = handshake->failed;
  Remove(handshake);
  if (!is_told) {
    handlers_.turned_away(address, why);
  }
}

std::list<Door::Handshake>::iterator Door::Remove(std::list<Handshake>::iterator handshake) {
  if (handshake->socket.get() >= 0) {
    poller_.Watch(handshake->socket.get(), handshake->number, 0);
  }
  by_number_.erase(handshake->number);
  const auto host = by_host_.find(handshake->host);
  if (--host->second == 0) {
    by_host_.erase(host);
  }
  return handshakes_.erase(handshake);
}

}  // namespace tributary::coordinator
