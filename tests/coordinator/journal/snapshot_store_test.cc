#include "coordinator/journal/snapshot_store.h"

#include <signal.h>
#include <sys/resource.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "common/checksum.h"
#include "common/exit_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

class SnapshotStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<FileStore>> files = OpenFolder(folder_.File("snapshots"));
    ASSERT_TRUE(files.ok()) << files.status();
    files_ = *std::move(files);
    store_ = std::make_unique<SnapshotStore>(files_.get());
  }

  absl::StatusOr<std::string> Save(const std::string& run, uint64_t round, const std::string& bytes) {
    return store_->Save(run, round, [&bytes](ByteSink sink) { return sink(bytes); });
  }
  std::string PathOf(const std::string& file) const { return folder_.File("snapshots/" + file); }

  const TestFolder folder_;
  std::unique_ptr<FileStore> files_;
  std::unique_ptr<SnapshotStore> store_;
};

// Closed by its SHA-256, as optim::EncodeSnapshot closes one.
std::string Sealed(std::string content) {
  return content + DigestBytes(Sha256(content));
}

TEST_F(SnapshotStoreTest, ServesWhatItSavedToAllTheSame) {
  const std::string bytes = Sealed("theta");
  const absl::StatusOr<std::string> file = Save("run-1", 100, bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(store_->Exists(*file));
  const SharedBytes served = *store_->OpenToServe(*file);
  EXPECT_EQ(*ReadAll(*served), bytes);
  EXPECT_EQ(*Sha256OfSealed(*served, "x"), Sha256(bytes));
  EXPECT_EQ(*store_->OpenToServe(*file), served);
  ASSERT_TRUE(store_->Remove(*file).ok());
  EXPECT_EQ(*ReadAll(*served), bytes);
}

TEST_F(SnapshotStoreTest, SortsByNameAsByRound) {
  EXPECT_LT(*Save("run", 9, Sealed("a")), *Save("run", 10, Sealed("b")));
}

TEST_F(SnapshotStoreTest, SaysThatAMissingOrChangedFileIsDamaged) {
  const std::string file = *Save("run", 1, Sealed(std::string(1000, 'x')));
  std::fstream(PathOf(file), std::ios::in | std::ios::out | std::ios::binary).seekp(500).put('y');
  const absl::Status changed = Sha256OfSealed(**store_->OpenToServe(file), PathOf(file)).status();
  EXPECT_EQ(changed.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ExitCodeOf(changed), ExitCode::kDamaged);
  EXPECT_THAT(std::string(changed.message()), HasSubstr(PathOf(file)));
  std::filesystem::resize_file(PathOf(file), 20);
  EXPECT_EQ(Sha256OfSealed(**store_->OpenToServe(file), PathOf(file)).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_TRUE(store_->Remove(file).ok());
  EXPECT_EQ(store_->OpenToServe(file).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(SnapshotStoreTest, LeavesItsFolderForNoName) {
  std::ofstream(folder_.File("secret.snapshot")) << Sealed("x");
  EXPECT_FALSE(store_->OpenToServe("../secret.snapshot").ok());
  EXPECT_FALSE(store_->Remove("../secret.snapshot").ok());
  EXPECT_FALSE(store_->Exists("../secret.snapshot"));
  EXPECT_EQ(Save("../run", 1, "x").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::exists(folder_.File("secret.snapshot")));
}

TEST_F(SnapshotStoreTest, RemovesWhatTheJournalDoesNotName) {
  const std::string kept = *Save("run", 1, Sealed("kept"));
  const std::string surplus = *Save("run", 2, Sealed("surplus"));
  const std::string update = store_->NewUpdateFile("run", 2, "paris");
  ASSERT_TRUE((*store_->Create(update))->Finish().ok());
  std::ofstream(PathOf("notes.txt")) << "mine";
  ASSERT_TRUE(store_->RemoveAllBut({kept}).ok());
  EXPECT_TRUE(store_->Exists(kept));
  EXPECT_FALSE(store_->Exists(surplus));
  EXPECT_FALSE(store_->Exists(update));
  EXPECT_TRUE(std::filesystem::exists(PathOf("notes.txt")));
}

TEST_F(SnapshotStoreTest, NamesNoUpdateLikeAnotherAlsoAfterARestart) {
  const std::string first = store_->NewUpdateFile("run", 2, "paris");
  EXPECT_NE(store_->NewUpdateFile("run", 2, "paris"), first) << "the first is still being written";
  ASSERT_TRUE((*store_->Create(first))->Finish().ok());
  SnapshotStore restarted(files_.get());
  EXPECT_NE(restarted.NewUpdateFile("run", 2, "paris"), first);
}

TEST_F(SnapshotStoreTest, LeavesNothingBehindOnAFullDisk) {
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit previous = {};
  getrlimit(RLIMIT_FSIZE, &previous);
  rlimit limit = previous;
  limit.rlim_cur = 4096;
  setrlimit(RLIMIT_FSIZE, &limit);
  const absl::Status status = Save("run", 1, std::string(100000, 'x')).status();
  setrlimit(RLIMIT_FSIZE, &previous);
  signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kStorage);
  EXPECT_TRUE(std::filesystem::is_empty(folder_.File("snapshots")));
}

}  // namespace
}  // namespace tributary::coordinator
