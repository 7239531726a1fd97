#include "coordinator/guard/bridge.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

// Pieces each way before other connections have their turn.
constexpr int kPiecesAtOnce = 8;

// For what is read and passed on at once; a piece is kept by its connection only if it is not taken.
thread_local uint8_t scratch[Bridge::kPiece];

bool WouldBlock(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

absl::Status BrokenOff(absl::string_view side) {
  return absl::UnavailableError(absl::StrCat("broken off by ", side));
}

}  // namespace

Bridge::Bridge(OwnedDescriptor socket, SslPtr ssl, OwnedDescriptor inner)
    : socket_(std::move(socket)), ssl_(std::move(ssl)), inner_(std::move(inner)) {}

absl::StatusOr<Bridge::Moved> Bridge::Move(absl::Time now) {
  for (int piece = 0; piece < kPiecesAtOnce; ++piece) {
    TRIBUTARY_ASSIGN_OR_RETURN(const Step down, MoveDown());
    TRIBUTARY_ASSIGN_OR_RETURN(const Step up, MoveUp(now));
    if (down == Step::kEnded) {
      if (ssl_ != nullptr) {
        SSL_shutdown(ssl_.get());
        TakeSslError();
      }
      return absl::CancelledError("ended by the coordinator");
    }
    if (up == Step::kEnded) {
      return absl::CancelledError("ended by the client");
    }
    if (down == Step::kBlocked && up == Step::kBlocked) {
      return Moved::kWait;
    }
  }
  return Moved::kMore;
}

Bridge::Wanted Bridge::wanted() const {
  Wanted wanted = {0, 0};
  if (up_.empty()) {
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
    up_.erase(up_.begin(), up_.begin() + static_cast<ptrdiff_t>(taken));
    if (!up_.empty()) {
      return Step::kBlocked;
    }
  }
  if (client_ended_) {
    return Step::kEnded;
  }
  size_t size = 0;
  Step step = Step::kMoved;
  // One call reads one record.
  while (size < sizeof scratch && step == Step::kMoved) {
    TRIBUTARY_ASSIGN_OR_RETURN(const size_t read, ReadClient(absl::MakeSpan(scratch + size, sizeof scratch - size), &step));
    size += read;
  }
  client_ended_ = step == Step::kEnded;
  const absl::Span<const uint8_t> bytes(scratch, size);
  bytes_up_ += size;
  TRIBUTARY_RETURN_IF_ERROR(watch_.Look(bytes, now));
  TRIBUTARY_ASSIGN_OR_RETURN(const size_t taken, WriteInner(bytes));
  up_.assign(bytes.begin() + taken, bytes.end());
  if (!up_.empty()) {
    return Step::kBlocked;
  }
  return step;
}

absl::StatusOr<Bridge::Step> Bridge::MoveDown() {
  if (!down_.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const size_t taken, WriteClient(down_));
    down_.erase(down_.begin(), down_.begin() + static_cast<ptrdiff_t>(taken));
    if (!down_.empty()) {
      return Step::kBlocked;
    }
  }
  if (inner_ended_) {
    return Step::kEnded;
  }
  const ssize_t size = recv(inner_.get(), scratch, sizeof scratch, 0);
  if (size < 0) {
    return WouldBlock(errno) ? absl::StatusOr<Step>(Step::kBlocked) : BrokenOff("the coordinator");
  }
  if (size == 0) {
    inner_ended_ = true;
    return Step::kEnded;
  }
  const absl::Span<const uint8_t> bytes(scratch, static_cast<size_t>(size));
  TRIBUTARY_ASSIGN_OR_RETURN(const size_t taken, WriteClient(bytes));
  down_.assign(bytes.begin() + taken, bytes.end());
  return down_.empty() ? Step::kMoved : Step::kBlocked;
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
  size_t size = 0;
  if (SSL_read_ex(ssl_.get(), bytes.data(), bytes.size(), &size) == 1) {
    return size;
  }
  switch (SSL_get_error(ssl_.get(), 0)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      *step = Step::kBlocked;
      return 0;
    case SSL_ERROR_ZERO_RETURN:
      *step = Step::kEnded;
      return 0;
    default:
      TakeSslError();
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
  }
  return written;
}

absl::StatusOr<size_t> Bridge::WriteInner(absl::Span<const uint8_t> bytes) {
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t sent = send(inner_.get(), bytes.data() + written, bytes.size() - written, MSG_NOSIGNAL);
    if (sent < 0) {
      return WouldBlock(errno) ? absl::StatusOr<size_t>(written) : BrokenOff("the coordinator");
    }
    written += static_cast<size_t>(sent);
  }
  return written;
}

}  // namespace tributary::coordinator
