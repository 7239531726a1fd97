// `tributary backup` and `restore` on the folder of a real coordinator that works while it is copied.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "coordinator/backup.h"
#include "tests/cli/run_command.h"
#include "tests/common/test_folder.h"
#include "tests/coordinator/federation.h"

namespace tributary::cli {
namespace {

using coordinator::Federation;
using coordinator::MakeSpec;
using coordinator::Submit;
using ::testing::HasSubstr;
using Json = nlohmann::json;
namespace fs = std::filesystem;

// A run of 12 rounds that stands after round 8, round 9 open and site-1's update missing in it; of snapshots the newest is kept.
class BackupCommand : public ::testing::Test {
 protected:
  BackupCommand() : federation_(2, /*snapshot_every=*/3) {
    federation_.config.mutable_log()->set_keep(v1::LogConfig::SINCE_SNAPSHOT);
    EXPECT_TRUE(federation_.Restart().ok());
    run_ = Submit(federation_, MakeSpec("toy", 12, 2));
    federation_.site(1).alter = [](std::string& payload, uint64_t round) {
      if (round == 9) {
        payload.clear();
      }
    };
    federation_.ConnectAll();
    EXPECT_EQ(federation_.Status(run_).round(), 8u);
  }
  // To the end of the run, all of one mind.
  void Finish() {
    federation_.site(1).alter = nullptr;
    for (int i = 0; i < federation_.size(); ++i) {
      federation_.site(i).Disconnect();
    }
    federation_.RunToEnd(run_);
    EXPECT_EQ(federation_.Status(run_).state(), v1::FINISHED) << federation_.Status(run_).reason();
    EXPECT_EQ(federation_.Status(run_).round(), 12u);
    CommonHash(federation_, run_);
  }
  // Restores into the coordinator's own folder, whose contents are lost.
  Result LoseAndRestore() {
    federation_.Crash();
    for (const auto& entry : fs::directory_iterator(federation_.folder())) {
      fs::remove_all(entry.path());
    }
    return RunCommand({"restore", backup(), federation_.folder()});
  }
  std::string backup() const { return folder_.File("backup"); }

  Federation federation_;
  const TestFolder folder_;
  std::string run_;
};

TEST_F(BackupCommand, OfAWorkingCoordinatorIsWholeAndTheCoordinatorGoesOn) {
  const Result result = RunCommand({"backup", federation_.folder(), backup(), "--format", "json"});
  ASSERT_EQ(result.code, ExitCode::kOk) << result.err;
  const Json json = Json::parse(result.out);
  EXPECT_EQ(json["runs"][0]["run_id"], run_);
  EXPECT_EQ(json["runs"][0]["round"], 8);
  const Result verified = RunCommand({"journal", "verify", backup()});
  EXPECT_EQ(verified.code, ExitCode::kOk) << verified.out;
  EXPECT_EQ(fs::status(backup()).permissions(), fs::perms::owner_all) << "models and updates are for this user alone";
  Finish();
}

TEST_F(BackupCommand, SitesThatAreAheadOfARestoredLogAreTakenBackToItAndGoOn) {
  ASSERT_EQ(RunCommand({"backup", federation_.folder(), backup()}).code, ExitCode::kOk);
  Finish();
  const Result restored = LoseAndRestore();
  ASSERT_EQ(restored.code, ExitCode::kOk) << restored.err;
  EXPECT_THAT(restored.out, HasSubstr(absl::StrCat("run ", run_, ": running, round 8")));
  ASSERT_TRUE(federation_.Restart().ok());
  EXPECT_EQ(federation_.Status(run_).round(), 8u);
  ASSERT_EQ(federation_.site(0).state()->round, 12u);
  Finish();
  const std::vector<coordinator::JournaledEvent> events = *federation_.journal().Events(run_);
  EXPECT_TRUE(
      std::any_of(events.begin(), events.end(), [](const auto& event) { return event.detail == "it holds round 12, the log ends at 8"; }));
}

// The coordinator prunes log and snapshots between the moment that is backed up and the copying.
TEST_F(BackupCommand, HoldsWhatTheCoordinatorRemovesMeanwhile) {
  bool finished = false;
  const auto done = coordinator::BackUpFolder(federation_.folder(), backup(), [&](uint64_t, uint64_t) {
    if (!std::exchange(finished, true)) {
      Finish();
    }
    return absl::OkStatus();
  });
  ASSERT_TRUE(done.ok()) << done.status();
  ASSERT_TRUE(finished);
  EXPECT_EQ(done->runs.front().round, 8u);
  const Result verified = RunCommand({"journal", "verify", backup()});
  EXPECT_EQ(verified.code, ExitCode::kOk) << verified.out;
  EXPECT_THAT(verified.out, HasSubstr("8 commits"));
}

TEST_F(BackupCommand, OverwritesNothing) {
  ASSERT_TRUE(MakeDirectories(backup()).ok());
  ASSERT_TRUE(WriteFileAtomically(backup() + "/notes", "mine").ok());
  const Result result = RunCommand({"backup", federation_.folder(), backup()});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.err, HasSubstr("is not an empty folder; name one that is, or a new one"));
  EXPECT_EQ(*ReadFile(backup() + "/notes", 100), "mine");
  fs::remove(backup() + "/notes");
  ASSERT_EQ(RunCommand({"backup", federation_.folder(), backup()}).code, ExitCode::kOk) << "an empty one will do";
  EXPECT_EQ(RunCommand({"restore", backup(), federation_.folder()}).code, ExitCode::kUsage) << "least of all a coordinator's folder";
}

TEST_F(BackupCommand, IsCheckedBeforeItIsRestored) {
  ASSERT_EQ(RunCommand({"backup", federation_.folder(), backup()}).code, ExitCode::kOk);
  std::string file;
  for (const auto& entry : fs::directory_iterator(backup() + "/snapshots")) {
    file = std::max(file, entry.path().string());
  }
  std::string bytes = *ReadFile(file, 1 << 20);
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(file, bytes).ok());
  const Result damaged = LoseAndRestore();
  EXPECT_EQ(damaged.code, ExitCode::kDamaged);
  EXPECT_THAT(damaged.err, HasSubstr(file));
  fs::remove(file);
  EXPECT_EQ(LoseAndRestore().code, ExitCode::kDamaged);
  EXPECT_TRUE(fs::is_empty(federation_.folder()));
}

TEST_F(BackupCommand, ThatIsInterruptedLeavesNothing) {
  Interrupt interrupt;
  interrupt.Raise();
  const Result result = RunCommand({"backup", federation_.folder(), backup()}, "", false, &interrupt);
  EXPECT_EQ(result.code, ExitCode::kInterrupted);
  EXPECT_FALSE(fs::exists(backup()));
}

TEST_F(BackupCommand, OfAStoppedCoordinatorIsTheSame) {
  federation_.Crash();
  ASSERT_EQ(RunCommand({"backup", federation_.folder(), backup()}).code, ExitCode::kOk);
  EXPECT_EQ(RunCommand({"journal", "verify", backup()}).code, ExitCode::kOk);
  EXPECT_EQ(RunCommand({"backup", backup() + "/snapshots", folder_.File("other")}).code, ExitCode::kNotFound);
  EXPECT_FALSE(fs::exists(folder_.File("other")));
}

}  // namespace
}  // namespace tributary::cli
