#include "common/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "common/exit_codes.h"
#include "common/folder_probe.h"
#include "tests/common/test_folder.h"

namespace tributary {
namespace {

using ::testing::HasSubstr;

std::string Contents(const std::string& path) {
  return ReadFile(path, 1 << 20).value();
}

size_t FilesIn(const std::string& directory) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory), std::filesystem::directory_iterator()));
}

// Lets this process write files of at most `bytes`, as a full disk would.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_;
};

TEST(FilesTest, ReadsBackWhatWasWritten) {
  const TestFolder directory;
  const std::string bytes("a\0b\n", 4);
  ASSERT_TRUE(WriteFileAtomically(directory.File("f"), bytes).ok());
  EXPECT_EQ(ReadFile(directory.File("f"), 4).value(), bytes);
}

TEST(FilesTest, WritingReplacesAndLeavesNothingBeside) {
  const TestFolder directory;
  ASSERT_TRUE(WriteFileAtomically(directory.File("f"), "old").ok());
  ASSERT_TRUE(WriteFileAtomically(directory.File("f"), "").ok());
  EXPECT_EQ(Contents(directory.File("f")), "");
  EXPECT_EQ(FilesIn(directory.path()), 1u);
}

TEST(FilesTest, WritesWithThePermissionsAsked) {
  const TestFolder directory;
  ASSERT_TRUE(WriteFileAtomically(directory.File("key"), "secret", 0600).ok());
  struct stat info;
  ASSERT_EQ(stat(directory.File("key").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(FilesTest, AFullDiskLeavesTheOldFileAndNoOther) {
  const TestFolder directory;
  ASSERT_TRUE(WriteFileAtomically(directory.File("f"), "old").ok());
  absl::Status status;
  {
    const FileSizeLimit limit(1000);
    status = WriteFileAtomically(directory.File("f"), std::string(5000, 'x'));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kStorage);
  EXPECT_THAT(std::string(status.message()), HasSubstr("free some space"));
  EXPECT_EQ(Contents(directory.File("f")), "old");
  EXPECT_EQ(FilesIn(directory.path()), 1u);
}

TEST(FilesTest, WithoutDescriptorsItIsNotTheDisksFault) {
  const TestFolder folder;
  ASSERT_TRUE(WriteFileAtomically(folder.File("a"), "a").ok());
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {0, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const absl::Status read = ReadFile(folder.File("a"), 10).status();
  const absl::Status written = WriteFileAtomically(folder.File("b"), "b");
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  for (const absl::Status& status : {read, written}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("nothing is wrong with the disk"));
  }
  EXPECT_EQ(*ReadFile(folder.File("a"), 10), "a");
}

TEST(FilesTest, AMissingFileIsNotFoundWithItsPath) {
  const absl::Status status = ReadFile("/nowhere/at/all", 10).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kStorage);
  EXPECT_EQ(status.message(), "cannot read /nowhere/at/all: No such file or directory; check the path");
}

TEST(FilesTest, AFileLongerThanTheBoundIsRefused) {
  const TestFolder directory;
  ASSERT_TRUE(WriteFileAtomically(directory.File("f"), "12345").ok());
  EXPECT_EQ(ReadFile(directory.File("f"), 4).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadFile("/dev/zero", 100000).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(FilesTest, AFolderIsNotAFile) {
  const TestFolder directory;
  EXPECT_THAT(std::string(ReadFile(directory.path(), 10).status().message()), HasSubstr("Is a directory"));
}

TEST(FilesTest, WhatACrashLeftIsRemovedAndNothingElse) {
  const TestFolder directory;
  ASSERT_TRUE(WriteFileAtomically(directory.File("snapshot-1"), "kept").ok());
  std::ofstream(directory.File("snapshot-2.tmp-77-0")) << "half";
  ASSERT_TRUE(RemoveTemporaryFiles(directory.path()).ok());
  EXPECT_EQ(FilesIn(directory.path()), 1u);
  EXPECT_EQ(Contents(directory.File("snapshot-1")), "kept");
  EXPECT_TRUE(RemoveTemporaryFiles(directory.File("absent")).ok());
}

TEST(FilesTest, MakesFoldersWithTheirParents) {
  const TestFolder directory;
  EXPECT_TRUE(MakeDirectories(directory.File("a/b/c")).ok());
  EXPECT_TRUE(MakeDirectories(directory.File("a/b/c")).ok());
  ASSERT_TRUE(WriteFileAtomically(directory.File("a/file"), "").ok());
  EXPECT_FALSE(MakeDirectories(directory.File("a/file")).ok());
  EXPECT_FALSE(MakeDirectories(directory.File("a/file/x")).ok());
}

TEST(FilesTest, KnowsTheFreeSpace) {
  const TestFolder directory;
  EXPECT_TRUE(FreeBytes(directory.path()).ok());
  EXPECT_EQ(FreeBytes("/nowhere").status().code(), absl::StatusCode::kNotFound);
}

TEST(WriteOutputTest, ADashIsStandardOutput) {
  std::ostringstream out;
  ASSERT_TRUE(WriteOutput("-", "model", out).ok());
  ASSERT_TRUE(WriteOutput("/dev/stdout", "!", out).ok());
  EXPECT_EQ(out.str(), "model!");
}

TEST(WriteOutputTest, ALinkIsFollowedAndStays) {
  const TestFolder directory;
  directory.Write("target", "old");
  std::filesystem::create_symlink("target", directory.File("link"));
  std::filesystem::create_symlink("new", directory.File("dangling"));
  std::ostringstream out;
  ASSERT_TRUE(WriteOutput(directory.File("link"), "model", out).ok());
  ASSERT_TRUE(WriteOutput(directory.File("dangling"), "other", out).ok());
  EXPECT_TRUE(std::filesystem::is_symlink(directory.File("link")));
  EXPECT_EQ(Contents(directory.File("target")), "model");
  EXPECT_EQ(Contents(directory.File("new")), "other");
}

TEST(WriteOutputTest, AFileKeepsItsPermissions) {
  const TestFolder directory;
  directory.Write("f", "old");
  std::filesystem::permissions(directory.File("f"), std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::ostringstream out;
  ASSERT_TRUE(WriteOutput(directory.File("f"), "new", out).ok());
  EXPECT_EQ(std::filesystem::status(directory.File("f")).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST(WriteOutputTest, APipeIsWrittenToAndStays) {
  const TestFolder directory;
  ASSERT_EQ(mkfifo(directory.File("fifo").c_str(), 0600), 0);
  std::string read;
  std::thread reader([&] { read = Contents(directory.File("fifo")); });
  std::ostringstream out;
  EXPECT_TRUE(WriteOutput(directory.File("fifo"), "model", out).ok());
  reader.join();
  EXPECT_EQ(read, "model");
  EXPECT_TRUE(std::filesystem::is_fifo(directory.File("fifo")));
}

TEST(WriteOutputTest, ADeviceStaysADevice) {
  std::ostringstream out;
  EXPECT_TRUE(WriteOutput("/dev/null", "model", out).ok());
  const absl::Status full = WriteOutput("/dev/full", "model", out);
  EXPECT_EQ(ExitCodeOf(full), ExitCode::kStorage);
  EXPECT_THAT(std::string(full.message()), HasSubstr("cannot write /dev/full: No space left on device"));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null") && std::filesystem::is_character_file("/dev/full"));
}

TEST(WriteOutputTest, AFolderIsRefused) {
  const TestFolder directory;
  std::ostringstream out;
  const absl::Status status = WriteOutput(directory.path(), "model", out);
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage);
  EXPECT_THAT(std::string(status.message()), HasSubstr("it is a folder; name a file, a pipe, or - for standard output"));
}

TEST(FolderProbeTest, LeavesNothingBehindInAFolderThatCanBeWritten) {
  TestFolder folder;
  EXPECT_EQ(ProbeFolder(folder.path()), absl::OkStatus());
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(FolderProbeTest, NoticesAFolderThatCannotBeWrittenWhateverItsPermissionsSay) {
  EXPECT_EQ(ExitCodeOf(ProbeFolder("/proc/self")), ExitCode::kStorage);  // root may write everywhere but there
}

TEST(FolderProbeTest, NoticesThatThereIsNoRoom) {
  TestFolder folder;
  signal(SIGXFSZ, SIG_IGN);
  struct rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const struct rlimit none = {0, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  const absl::Status full = ProbeFolder(folder.path());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace tributary
