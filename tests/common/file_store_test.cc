#include "common/file_store.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"

namespace tributary {
namespace {

using ::testing::ElementsAre;

class FileStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<FileStore> Open() {
    absl::StatusOr<std::unique_ptr<FileStore>> files = OpenFolder(directory_.File("files"), 0600);
    EXPECT_TRUE(files.ok()) << files.status();
    return *std::move(files);
  }

  TestFolder directory_;
};

TEST_F(FileStoreTest, KeepsWhatWasWritten) {
  const std::unique_ptr<FileStore> files = Open();
  ASSERT_TRUE(files->Write("b", "1").ok());
  ASSERT_TRUE(files->Write("a", "2").ok());
  ASSERT_TRUE(files->Write("b", "3").ok());
  EXPECT_EQ(*files->Read("b", 10), "3");
  EXPECT_THAT(*Open()->Names(), ElementsAre("a", "b"));
  EXPECT_EQ(std::filesystem::status(files->PathOf("a")).permissions() & std::filesystem::perms::all,
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(FileStoreTest, AddsToWhatIsThere) {
  const std::unique_ptr<FileStore> files = Open();
  ASSERT_TRUE(files->Append("a", "1").ok());
  ASSERT_TRUE(files->Append("a", "23").ok());
  EXPECT_EQ(*files->Read("a", 10), "123");
  EXPECT_EQ(std::filesystem::status(files->PathOf("a")).permissions() & std::filesystem::perms::all,
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_EQ(files->Append("../a", "1").code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FileStoreTest, BoundsItsReads) {
  const std::unique_ptr<FileStore> files = Open();
  ASSERT_TRUE(files->Write("a", "12345").ok());
  EXPECT_EQ(files->Read("a", 4).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(files->Read("b", 4).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileStoreTest, RemovesAndForgets) {
  const std::unique_ptr<FileStore> files = Open();
  ASSERT_TRUE(files->Write("a", "1").ok());
  EXPECT_TRUE(files->Exists("a"));
  EXPECT_TRUE(files->Remove("a").ok());
  EXPECT_TRUE(files->Remove("a").ok());
  EXPECT_FALSE(files->Exists("a"));
}

TEST_F(FileStoreTest, LeavesItsFolderForNoName) {
  const std::unique_ptr<FileStore> files = Open();
  std::ofstream(directory_.File("secret")) << "x";
  for (const char* const name : {"../secret", "/etc/passwd", "", ".", "..", ".hidden", "a/b"}) {
    EXPECT_EQ(files->Read(name, 100).status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(files->Write(name, "y").code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(files->Remove(name).code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_FALSE(files->Exists(name)) << name;
  }
  EXPECT_TRUE(std::filesystem::exists(directory_.File("secret")));
}

TEST_F(FileStoreTest, WritesInPiecesWhatIsThereOnlyOnceFinished) {
  const std::unique_ptr<FileStore> files = Open();
  ASSERT_TRUE(files->Write("a", "old").ok());
  std::unique_ptr<FileStore::Writer> writer = *files->Create("a");
  ASSERT_TRUE(writer->Append("new ").ok());
  ASSERT_TRUE(writer->Append("bytes").ok());
  EXPECT_EQ(*files->Read("a", 10), "old");
  ASSERT_TRUE(writer->Finish().ok());
  EXPECT_EQ(*files->Read("a", 10), "new bytes");
  EXPECT_EQ(files->Create("../a").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(FileStoreTest, LeavesNothingOfAWriterThatWasDropped) {
  const std::unique_ptr<FileStore> files = Open();
  ASSERT_TRUE((*files->Create("a"))->Append("half").ok());
  EXPECT_TRUE(std::filesystem::is_empty(directory_.File("files")));
}

TEST_F(FileStoreTest, ReadsSlicesOfAFile) {
  const std::unique_ptr<FileStore> files = Open();
  ASSERT_TRUE(files->Write("a", "0123456789").ok());
  const SharedBytes bytes = *files->Open("a");
  std::string scratch;
  EXPECT_EQ(bytes->size(), 10U);
  EXPECT_EQ(*bytes->Slice(3, 4, scratch), "3456");
  EXPECT_EQ(*ReadAll(*bytes), "0123456789");
  EXPECT_EQ(files->Open("b").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileStoreTest, SaysThatAFileWasCutShort) {
  const std::unique_ptr<FileStore> files = Open();
  ASSERT_TRUE(files->Write("a", "0123456789").ok());
  const SharedBytes bytes = *files->Open("a");
  std::filesystem::resize_file(files->PathOf("a"), 5);
  std::string scratch;
  EXPECT_EQ(*bytes->Slice(0, 5, scratch), "01234");
  EXPECT_EQ(bytes->Slice(3, 4, scratch).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(FileStoreTest, ClearsAwayInterruptedWrites) {
  ASSERT_TRUE(Open()->Write("a", "1").ok());
  std::ofstream(directory_.File("files/a.tmp-123-4")) << "half";
  EXPECT_THAT(*Open()->Names(), ElementsAre("a"));
}

}  // namespace
}  // namespace tributary
