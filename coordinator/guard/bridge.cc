#include "coordinator/guard/bridge.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

// Pieces each way before other connections have their turn.
constexpr int kPiecesAtOnce = 8;

// Of TLS itself after the handshake, in a connection's life: clients send none, and each costs a derivation of keys.
constexpr int kMessages = 64;

constexpr char kNotHttp2[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

// For what is read and passed on at once; a piece is kept by its connection only if it is not taken.
thread_local uint8_t scratch[Bridge::kPiece];

// The memory goes with the last byte: most connections keep nothing most of the time.
void Drop(std::vector<uint8_t>& bytes, size_t taken) {
  if (taken == bytes.size()) {
    std::vector<uint8_t>().swap(bytes);
  } else {
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(taken));
  }
}

bool WouldBlock(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

absl::Status BrokenOff(absl::string_view side) {
  return absl::UnavailableError(absl::StrCat("broken off by ", side));
}

}  // namespace

Bridge::Bridge(OwnedDescriptor socket, SslPtr ssl, OwnedDescriptor inner, std::shared_ptr<MessageBudget> messages,
               std::shared_ptr<StreamBudget> streams)
    : socket_(std::move(socket)), ssl_(std::move(ssl)), inner_(std::move(inner)), watch_(std::move(messages), std::move(streams)) {
  if (ssl_ != nullptr) {
    // OpenSSL would read on for as long as messages of TLS itself come.
    SSL_set0_rbio(ssl_.get(), MakePiecewise(this));
    SSL_set_msg_callback(ssl_.get(), &Bridge::SawMessage);
    SSL_set_msg_callback_arg(ssl_.get(), this);
  }
}

void Bridge::SawMessage(int written, int, int type, const void*, size_t, SSL*, void* bridge) {
  if (written == 0 && type == SSL3_RT_HANDSHAKE) {
    ++static_cast<Bridge*>(bridge)->messages_;
  }
}

absl::StatusOr<Bridge::Moved> Bridge::Move(absl::Time now) {
  for (int piece = 0; piece < kPiecesAtOnce; ++piece) {
    TRIBUTARY_ASSIGN_OR_RETURN(const Step down, MoveDown());
    if (down == Step::kEnded && !leaving_) {
      leaving_ = true;
      if (ssl_ != nullptr) {
        SSL_shutdown(ssl_.get());
        TakeSslError();
      }
      shutdown(socket_.get(), SHUT_WR);
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const Step up, MoveUp(now));
    if (up == Step::kEnded) {
      return absl::CancelledError("ended");
    }
    if (down != Step::kMoved && up == Step::kBlocked) {
      return Moved::kWait;
    }
  }
  return Moved::kMore;
}

Bridge::Wanted Bridge::wanted() const {
  Wanted wanted = {0, 0};
  if (wants_write_) {
    wanted.socket |= POLLOUT;
  } else if (up_.empty()) {
    wanted.socket |= client_ended_ ? 0 : POLLIN;
  } else {
    wanted.inner |= POLLOUT;
  }
  if (down_.empty()) {
    wanted.inner |= inner_ended_ ? 0 : POLLIN;
  } else {
    wanted.socket |= POLLOUT;
  }
  return wanted;
}

absl::StatusOr<Bridge::Step> Bridge::MoveUp(absl::Time now) {
  if (!up_.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const size_t taken, WriteInner(up_));
    Drop(up_, taken);
    if (!up_.empty()) {
      return Step::kBlocked;
    }
  }
  if (client_ended_) {
    return Step::kEnded;
  }
  Step step = Step::kMoved;
  TRIBUTARY_ASSIGN_OR_RETURN(const size_t size, ReadClient(absl::MakeSpan(scratch), &step));
  client_ended_ = step == Step::kEnded;
  const absl::Span<const uint8_t> bytes(scratch, size);
  bytes_up_ += size;
  if (bytes_up_ > most_bytes_up_) {
    return absl::ResourceExhaustedError("it sent more than it may");
  }
  if (messages_ > kMessages) {
    return absl::ResourceExhaustedError("too many messages of TLS itself");
  }
  if (const absl::Status looked = watch_.Look(bytes, now); !looked.ok()) {
    if (ssl_ == nullptr && !watch_.has_begun()) {
      // A client of TLS, or a browser, is to see that this is another kind of server, and not only that it hangs up.
      send(socket_.get(), kNotHttp2, sizeof kNotHttp2 - 1, MSG_NOSIGNAL);
    }
    return looked;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const size_t taken, WriteInner(bytes));
  up_.assign(bytes.begin() + taken, bytes.end());
  return up_.empty() ? step : Step::kBlocked;
}

absl::StatusOr<Bridge::Step> Bridge::MoveDown() {
  if (!down_.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const size_t taken, WriteClient(down_));
    Drop(down_, taken);
    if (!down_.empty()) {
      return Step::kBlocked;
    }
  }
  if (inner_ended_) {
    return Step::kEnded;
  }
  const ssize_t size = recv(inner_.get(), scratch, sizeof scratch, 0);
  if (size < 0 && WouldBlock(errno)) {
    return Step::kBlocked;
  }
  if (size <= 0) {
    // After an error, too, all that gRPC had said was read.
    inner_ended_ = true;
    return Step::kEnded;
  }
  const absl::Span<const uint8_t> bytes(scratch, static_cast<size_t>(size));
  watch_.LookDown(bytes);
  TRIBUTARY_ASSIGN_OR_RETURN(const size_t taken, WriteClient(bytes));
  down_.assign(bytes.begin() + taken, bytes.end());
  return down_.empty() ? Step::kMoved : Step::kBlocked;
}

BIO* Bridge::MakePiecewise(Bridge* bridge) {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "piecewise");
    BIO_meth_set_read(made, &Bridge::ReceivePiece);
    BIO_meth_set_ctrl(made, [](BIO*, int, long, void*) -> long { return 0; });  // NOLINT(google-runtime-int): OpenSSL's type
    return made;
  }();
  BIO* const bio = BIO_new(method);
  BIO_set_data(bio, bridge);
  BIO_set_init(bio, 1);
  return bio;
}

int Bridge::ReceivePiece(BIO* bio, char* data, int size) {
  Bridge& bridge = *static_cast<Bridge*>(BIO_get_data(bio));
  BIO_clear_retry_flags(bio);
  if (bridge.piece_left_ > 0) {
    const ssize_t received = recv(bridge.socket_.get(), data, std::min(bridge.piece_left_, static_cast<size_t>(size)), 0);
    if (received > 0) {
      bridge.piece_left_ -= static_cast<size_t>(received);
      return static_cast<int>(received);
    }
    if (received == 0 || !WouldBlock(errno)) {
      bridge.received_ = Step::kEnded;
      return 0;
    }
    bridge.received_ = Step::kBlocked;
  }
  BIO_set_retry_read(bio);
  return -1;
}

absl::StatusOr<size_t> Bridge::ReadClient(absl::Span<uint8_t> bytes, Step* step) {
  if (ssl_ == nullptr) {
    const ssize_t size = recv(socket_.get(), bytes.data(), bytes.size(), 0);
    if (size < 0 && !WouldBlock(errno)) {
      return BrokenOff("the client");
    }
    *step = size < 0 ? Step::kBlocked : size == 0 ? Step::kEnded : Step::kMoved;
    return size < 0 ? 0 : static_cast<size_t>(size);
  }
  piece_left_ = kPiece;
  received_ = Step::kMoved;
  wants_write_ = false;
  size_t size = 0;
  // One call reads one record.
  while (size < bytes.size()) {
    size_t read = 0;
    if (SSL_read_ex(ssl_.get(), bytes.data() + size, bytes.size() - size, &read) != 1) {
      break;
    }
    size += read;
  }
  if (size == bytes.size()) {
    return size;  // there may be more
  }
  switch (SSL_get_error(ssl_.get(), 0)) {
    case SSL_ERROR_WANT_READ:
      *step = received_;  // kMoved: the piece is used up, and there may be more
      return size;
    case SSL_ERROR_WANT_WRITE:
      wants_write_ = true;
      *step = Step::kBlocked;
      return size;
    case SSL_ERROR_ZERO_RETURN:
      *step = Step::kEnded;
      return size;
    default:
      TakeSslError();
      if (received_ == Step::kEnded) {
        *step = Step::kEnded;
        return size;
      }
      return BrokenOff("the client");
  }
}

absl::StatusOr<size_t> Bridge::WriteClient(absl::Span<const uint8_t> bytes) {
  size_t written = 0;
  while (written < bytes.size()) {
    size_t size = 0;
    if (ssl_ == nullptr) {
      const ssize_t sent = send(socket_.get(), bytes.data() + written, bytes.size() - written, MSG_NOSIGNAL);
      if (sent < 0) {
        return WouldBlock(errno) ? absl::StatusOr<size_t>(written) : BrokenOff("the client");
      }
      size = static_cast<size_t>(sent);
    } else if (SSL_write_ex(ssl_.get(), bytes.data() + written, bytes.size() - written, &size) != 1) {
      const int error = SSL_get_error(ssl_.get(), 0);
      if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) {
        return written;
      }
      TakeSslError();
      return BrokenOff("the client");
    }
    written += size;
    bytes_down_ += size;
  }
  return written;
}

absl::StatusOr<size_t> Bridge::WriteInner(absl::Span<const uint8_t> bytes) {
  size_t written = inner_deaf_ ? bytes.size() : 0;
  while (written < bytes.size()) {
    const ssize_t sent = send(inner_.get(), bytes.data() + written, bytes.size() - written, MSG_NOSIGNAL);
    if (sent < 0 && WouldBlock(errno)) {
      return written;
    }
    if (sent < 0) {
      // gRPC has closed: what it said before is still to be delivered.
      inner_deaf_ = true;
      return bytes.size();
    }
    written += static_cast<size_t>(sent);
  }
  return written;
}

}  // namespace tributary::coordinator
