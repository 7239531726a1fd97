#include "worker/kept_secret.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "common/worker_secret.h"
#include "tests/common/test_folder.h"
#include "worker/state_folder.h"

namespace tributary::worker {
namespace {

TEST(KeptSecretTest, ARestartPresentsTheSameAndAnotherFolderAnother) {
  const TestFolder folder, other;
  const std::string secret = OpenStateFolder(folder.path())->worker_secret;
  EXPECT_TRUE(IsWorkerSecret(secret)) << secret;
  EXPECT_EQ(OpenStateFolder(folder.path())->worker_secret, secret);
  EXPECT_NE(OpenStateFolder(other.path())->worker_secret, secret);
}

TEST(KeptSecretTest, ItIsForItsUserAlone) {
  const TestFolder folder;
  ASSERT_TRUE(OpenStateFolder(folder.path()).ok());
  struct stat file {};
  ASSERT_EQ(stat(folder.File("worker.secret").c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
}

TEST(KeptSecretTest, AFileThatHoldsSomethingElseIsReplaced) {
  for (const std::string& found : {std::string(), std::string("short"), std::string(32, 'G'), std::string(5000, 'a')}) {
    const TestFolder folder;
    folder.Write("worker.secret", found);
    const absl::StatusOr<StateFolder> opened = OpenStateFolder(folder.path());
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_TRUE(IsWorkerSecret(opened->worker_secret));
  }
}

}  // namespace
}  // namespace tributary::worker
