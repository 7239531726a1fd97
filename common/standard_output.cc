#include "common/standard_output.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>
#include <utility>

#include "common/files.h"

namespace tributary {
namespace {

constexpr size_t kBufferBytes = 64 * 1024;

absl::Status WriteFailure(int error) {
  if (error == EPIPE) {
    return WithExitCode(absl::CancelledError(""), ExitCode::kReaderGone);
  }
  return StorageError("write", "standard output", error);
}

}  // namespace

StandardOutput::StandardOutput(int fd) : fd_(fd), before_(std::cout.rdbuf()), buffer_(kBufferBytes, '\0') {
  setp(buffer_.data(), buffer_.data() + buffer_.size());
  std::cout.flush();
  std::cout.rdbuf(this);
}

StandardOutput::~StandardOutput() {
  WriteBuffer();
  std::cout.rdbuf(before_);
}

bool StandardOutput::WriteBuffer() {
  const char* at = pbase();
  while (failure_.ok() && at < pptr()) {
    const ssize_t written = write(fd_, at, static_cast<size_t>(pptr() - at));
    if (written >= 0) {
      at += written;
    } else if (errno == EAGAIN) {
      // Somebody else made the descriptor non-blocking.
      pollfd room = {fd_, POLLOUT, 0};
      poll(&room, 1, -1);
    } else if (errno != EINTR) {
      failure_ = WriteFailure(errno);
    }
  }
  setp(buffer_.data(), buffer_.data() + buffer_.size());
  return failure_.ok();
}

StandardOutput::int_type StandardOutput::overflow(int_type character) {
  if (!WriteBuffer()) {
    return traits_type::eof();
  }
  return traits_type::eq_int_type(character, traits_type::eof()) ? traits_type::not_eof(character)
                                                                 : sputc(traits_type::to_char_type(character));
}

int StandardOutput::sync() {
  return WriteBuffer() ? 0 : -1;
}

absl::Status StandardOutput::Flush() {
  WriteBuffer();
  return failure_;
}

int StandardOutput::End(absl::string_view program, ExitCode code) {
  const absl::Status flushed = Flush();
  if (!flushed.message().empty()) {
    std::cerr << program << ": " << flushed.message() << "\n";
  }
  return static_cast<int>(code == ExitCode::kOk ? ExitCodeOf(flushed) : code);
}

ReaderWatch::ReaderWatch(int fd, std::function<void()> gone) : stop_(-1) {
  struct stat info;
  if (fstat(fd, &info) != 0 || !(S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode))) {
    return;
  }
  stop_ = eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([fd, stop = stop_, gone = std::move(gone)] {
    pollfd watched[] = {{fd, 0, 0}, {stop, POLLIN, 0}};  // errors are always reported
    while (poll(watched, 2, -1) < 0 && errno == EINTR) {
    }
    if (watched[1].revents == 0) {
      gone();
    }
  });
}

ReaderWatch::~ReaderWatch() {
  if (thread_.joinable()) {
    eventfd_write(stop_, 1);
    thread_.join();
    close(stop_);
  }
}

}  // namespace tributary
