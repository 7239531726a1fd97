#include "common/file_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>

#include "absl/synchronization/mutex.h"
#include "tests/common/test_folder.h"

namespace tributary {
namespace {

// For what must happen, on a machine that may be busy.
constexpr absl::Duration kPatience = absl::Seconds(30);

// A watch of a file in a folder of its own that counts the changes it is told of.
class FileWatchTest : public testing::Test {
 protected:
  void Watch(const std::string& name) {
    watch_ = std::make_unique<FileWatch>(
        folder_.File(name),
        [this] {
          const absl::MutexLock lock(&mutex_);
          ++changes_;
        },
        absl::Milliseconds(1));
  }

  bool Told(int changes) {
    const absl::MutexLock lock(&mutex_);
    const auto reached = [this, changes] {
      mutex_.AssertHeld();
      return changes_ >= changes;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&reached), kPatience);
  }

  // After the last look.
  int ChangesInAll() {
    watch_.reset();
    const absl::MutexLock lock(&mutex_);
    return changes_;
  }

  TestFolder folder_;

 private:
  absl::Mutex mutex_;
  int changes_ = 0;
  std::unique_ptr<FileWatch> watch_;
};

TEST_F(FileWatchTest, TellsOfEachChange) {
  folder_.Write("file", "one");
  Watch("file");
  folder_.Write("file", "two");
  EXPECT_TRUE(Told(1));
}

TEST_F(FileWatchTest, IsNotTakenInByAnotherFileOfTheSameContents) {
  folder_.Write("file", "one");
  folder_.Write("same", "one");
  Watch("file");
  EXPECT_EQ(rename(folder_.File("same").c_str(), folder_.File("file").c_str()), 0);
  folder_.Write("other", "two");
  EXPECT_EQ(rename(folder_.File("other").c_str(), folder_.File("file").c_str()), 0);
  EXPECT_TRUE(Told(1));
  EXPECT_EQ(ChangesInAll(), 1);
}

TEST_F(FileWatchTest, SeesThatALinkOnTheWayLeadsElsewhere) {
  // As the kubelet changes a ConfigMap: file -> ..data/file, and ..data is replaced.
  folder_.Write("old", "one");
  folder_.Write("new", "two");
  EXPECT_EQ(symlink("old", folder_.File("file").c_str()), 0);
  Watch("file");
  EXPECT_EQ(symlink("new", folder_.File("next").c_str()), 0);
  EXPECT_EQ(rename(folder_.File("next").c_str(), folder_.File("file").c_str()), 0);
  EXPECT_TRUE(Told(1));
}

TEST_F(FileWatchTest, AFileThatIsGoneForAMomentHasNotChanged) {
  folder_.Write("file", "one");
  Watch("file");
  EXPECT_EQ(unlink(folder_.File("file").c_str()), 0);
  folder_.Write("other", "two");
  EXPECT_EQ(rename(folder_.File("other").c_str(), folder_.File("file").c_str()), 0);
  EXPECT_TRUE(Told(1));
  EXPECT_EQ(ChangesInAll(), 1);
}

}  // namespace
}  // namespace tributary
