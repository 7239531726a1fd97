#include "common/standard_output.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <future>
#include <iostream>

#include "common/files.h"
#include "tests/common/test_folder.h"

namespace tributary {
namespace {

using ::testing::HasSubstr;

class Pipe {
 public:
  Pipe() {
    signal(SIGPIPE, SIG_IGN);
    EXPECT_EQ(pipe(ends_), 0);
  }
  ~Pipe() {
    CloseReader();
    close(ends_[1]);
  }
  int writer() const { return ends_[1]; }
  void CloseReader() {
    if (ends_[0] >= 0) {
      close(std::exchange(ends_[0], -1));
    }
  }

 private:
  int ends_[2];
};

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : fd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) { EXPECT_GE(fd, 0); }
  ~Descriptor() { close(fd); }
  const int fd;
};

TEST(StandardOutputTest, WhatIsPrintedArrives) {
  const TestFolder folder;
  const Descriptor file(folder.File("out"));
  const std::string text(200'000, 'x');  // longer than the buffer
  StandardOutput output(file.fd);
  std::cout << "first\n" << text;
  EXPECT_EQ(output.End("program", ExitCode::kOk), 0);
  EXPECT_EQ(ReadFile(folder.File("out"), 1 << 20).value(), "first\n" + text);
}

TEST(StandardOutputTest, AFullDiskIsAnErrorThatSaysWhatToDo) {
  const Descriptor full("/dev/full");
  StandardOutput output(full.fd);
  std::cout << "lost";
  testing::internal::CaptureStderr();
  EXPECT_EQ(output.End("program", ExitCode::kOk), static_cast<int>(ExitCode::kStorage));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("program: cannot write standard output: No space left on device; free"));
}

TEST(StandardOutputTest, WhatFailedBeforeKeepsItsExitCode) {
  const Descriptor full("/dev/full");
  StandardOutput output(full.fd);
  std::cout << "lost";
  EXPECT_EQ(output.End("program", ExitCode::kRunFailed), static_cast<int>(ExitCode::kRunFailed));
}

TEST(StandardOutputTest, APipeThatNobodyReadsEndsTheProgramWithoutAWord) {
  Pipe pipe;
  pipe.CloseReader();
  StandardOutput output(pipe.writer());
  std::cout << "for nobody" << std::flush;
  EXPECT_FALSE(std::cout) << "what prints on can see it";
  testing::internal::CaptureStderr();
  EXPECT_EQ(output.End("program", ExitCode::kOk), static_cast<int>(ExitCode::kReaderGone));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  std::cout.clear();
}

TEST(ReaderWatchTest, NoticesThatThePipeIsReadNoMore) {
  Pipe pipe;
  std::promise<void> gone;
  const ReaderWatch watch(pipe.writer(), [&gone] { gone.set_value(); });
  pipe.CloseReader();
  gone.get_future().wait();
}

TEST(ReaderWatchTest, EndsWithTheReaderStillThere) {
  Pipe pipe;
  bool gone = false;
  {
    const ReaderWatch watch(pipe.writer(), [&gone] { gone = true; });
  }
  EXPECT_FALSE(gone);
}

TEST(ReaderWatchTest, OfAFileThereIsNothingToNotice) {
  const TestFolder folder;
  const Descriptor file(folder.File("out"));
  bool gone = false;
  {
    const ReaderWatch watch(file.fd, [&gone] { gone = true; });
  }
  EXPECT_FALSE(gone);
}

}  // namespace
}  // namespace tributary
