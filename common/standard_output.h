// Standard output whose writes are checked: no program ends well while what it printed was lost.
#ifndef TRIBUTARY_COMMON_STANDARD_OUTPUT_H_
#define TRIBUTARY_COMMON_STANDARD_OUTPUT_H_

#include <functional>
#include <memory>
#include <streambuf>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/exit_codes.h"

namespace tributary {

// What std::cout writes to, for as long as it lives: a descriptor, through a buffer. A failed write sets std::cout's badbit, and what
// follows is dropped. Not thread-safe. The process must ignore SIGPIPE.
class StandardOutput final : public std::streambuf {
 public:
  // `fd` is not closed.
  explicit StandardOutput(int fd);
  ~StandardOutput() override;
  StandardOutput(const StandardOutput&) = delete;
  StandardOutput& operator=(const StandardOutput&) = delete;

  // Writes what is buffered. The first failure ever: exit code kStorage and what to do (disk full), or Cancelled with exit code kReaderGone
  // and no message (a pipe that nobody reads any more).
  absl::Status Flush();

  // The end of `program` with `code`, everything written: `code`, or that of a failed write where it says more; then standard error has it.
  int End(absl::string_view program, ExitCode code);

 private:
  int_type overflow(int_type character) override;
  int sync() override;
  bool WriteBuffer();

  const int fd_;
  std::streambuf* const before_;  // of std::cout
  std::string buffer_;
  absl::Status failure_;
};

// Notices that nobody reads the pipe at `fd` any more, also while there is nothing to write. For other files than pipes, nothing happens.
class ReaderWatch {
 public:
  // Calls `gone` at most once, from a thread of its own.
  ReaderWatch(int fd, std::function<void()> gone);
  ~ReaderWatch();
  ReaderWatch(const ReaderWatch&) = delete;
  ReaderWatch& operator=(const ReaderWatch&) = delete;

 private:
  int stop_;  // an eventfd
  std::thread thread_;
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_STANDARD_OUTPUT_H_
