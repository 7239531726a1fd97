// `log` of coordinator.yaml: which commits go, and that runs, sites and people get along without them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "coordinator/journal/journal_disk.h"
#include "coordinator/journal/journal_format.h"
#include "coordinator/journal/schema.h"
#include "coordinator/run/log_keeping.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

// A snapshot every third round; of these the newest is kept, or as many as `keep` says.
class Pruning : public ::testing::Test {
 protected:
  Pruning() : federation_(2, 3) {
    federation_.config.mutable_log()->set_keep(v1::LogConfig::SINCE_SNAPSHOT);
    EXPECT_TRUE(federation_.Restart().ok());
  }
  // To the end of that round; the next one stays open.
  std::string RunTo(uint64_t round, const std::string& mode = "distro", const std::string& more = "") {
    federation_.site(1).alter = [round](std::string& payload, uint64_t of) {
      if (of == round + 1) {
        payload.clear();
      }
    };
    const std::string run = Submit(federation_, MakeSpec("toy", 50, 1, mode, more));
    federation_.ConnectAll();
    EXPECT_EQ(federation_.Status(run).round(), round);
    return run;
  }
  uint64_t Pruned(const std::string& run) { return *federation_.journal().PrunedThrough(run); }
  absl::Status Export(const std::string& run, uint64_t round) {
    v1::DownloadRequest request;
    request.set_run_id(run);
    request.set_state_at_round(round);
    return federation_.coordinator().OpenDownload(request, std::nullopt).status();
  }

  Federation federation_;
};

TEST_F(Pruning, CommitsUpToTheOldestKeptSnapshotGo) {
  federation_.config.mutable_snapshots()->set_keep(2);
  ASSERT_TRUE(federation_.Restart().ok());
  const std::string run = RunTo(10);
  EXPECT_EQ(Pruned(run), 6u) << "snapshots of rounds 6 and 9 are kept";
  EXPECT_EQ(federation_.journal().CommitSummaries(run)->size(), 10u) << "what is known of the rounds stays";
  EXPECT_EQ(federation_.coordinator().GetRunHistory(run)->rounds_size(), 11) << "with the initial weights";
  EXPECT_EQ(federation_.journal().Commit(run, 4)->included.size(), 2u);
}

TEST_F(Pruning, TheModelIsTheSameAndGoesOnAfterARestart) {
  const std::string run = RunTo(10);
  EXPECT_EQ(Pruned(run), 9u);
  federation_.site(1).alter = nullptr;
  ASSERT_TRUE(federation_.Restart().ok());
  federation_.RunToEnd(run);
  Federation whole(2, 3);
  const std::string other = Submit(whole, MakeSpec("toy", 50, 1));
  whole.RunToEnd(other);
  EXPECT_EQ(CommonHash(federation_, run), CommonHash(whole, other));
}

TEST_F(Pruning, MoreRoundsOrBytesStayWhereTheConfigurationSaysSo) {
  federation_.config.mutable_log()->set_rounds(5);
  ASSERT_TRUE(federation_.Restart().ok());
  const std::string run = RunTo(10);
  EXPECT_EQ(Pruned(run), 4u) << "at the snapshot of round 9";
  const uint64_t record = federation_.journal().Commit(run, 10)->record.size();
  federation_.Crash();
  federation_.config.mutable_log()->set_rounds(0);
  federation_.config.mutable_log()->set_bytes(record * 4 + record / 2);
  ASSERT_TRUE(federation_.Restart().ok());
  federation_.site(1).alter = [](std::string& payload, uint64_t round) {
    if (round == 13) {
      payload.clear();
    }
  };
  federation_.ConnectAll();
  ASSERT_EQ(federation_.Status(run).round(), 12u);
  EXPECT_EQ(Pruned(run), 8u);
}

TEST_F(Pruning, AStateThatIsGoneIsRefusedInPlainWords) {
  const std::string run = RunTo(10);
  EXPECT_TRUE(Export(run, 0).ok()) << "the initial weights";
  EXPECT_TRUE(Export(run, 9).ok());
  EXPECT_TRUE(Export(run, 10).ok());
  const absl::Status gone = Export(run, 8);
  EXPECT_TRUE(absl::IsNotFound(gone)) << gone;
  EXPECT_THAT(std::string(gone.message()),
              HasSubstr("at round 8: pruned; rounds up to 9 are gone by log.keep. Choose round 9 or later, or 0, the initial weights"));
  v1::DownloadRequest request;
  request.set_run_id(run);
  request.mutable_commits()->set_first(8);
  request.mutable_commits()->set_last(10);
  const absl::Status commits = federation_.coordinator().OpenDownload(request, "site-0").status();
  EXPECT_TRUE(absl::IsNotFound(commits)) << commits;
  EXPECT_THAT(std::string(commits.message()), HasSubstr("commits of rounds up to 9 are pruned"));
}

// A run of site-1 alone that stands after round 2; site-0 has come to its state. Then it stands after round 9.
class BehindAPrunedLog : public Pruning {
 protected:
  void StopBefore(uint64_t round) {
    federation_.site(1).alter = [round](std::string& payload, uint64_t of) {
      if (of == round) {
        payload.clear();
      }
    };
  }
  void SetUp() override {
    StopBefore(3);
    federation_.site(1).Connect();
    run_ = Submit(federation_, MakeSpec("toy", 50, 1));
    federation_.Settle();
    ASSERT_EQ(federation_.Status(run_).round(), 2u);
  }
  void GoOn() {
    StopBefore(10);
    federation_.site(1).Disconnect();
    federation_.site(1).Connect();
    federation_.Settle();
    ASSERT_EQ(federation_.Status(run_).round(), 9u);
    ASSERT_EQ(Pruned(run_), 9u);
  }
  std::string run_;
};

TEST_F(BehindAPrunedLog, ASiteThatComesBackGetsASnapshot) {
  federation_.site(0).Connect();
  federation_.Settle();
  ASSERT_EQ(federation_.site(0).state()->round, 2u);
  federation_.site(0).Disconnect();
  GoOn();
  federation_.site(0).Connect();
  federation_.Settle();
  EXPECT_TRUE(federation_.site(0).plans.back().needs_snapshot());
  EXPECT_EQ(federation_.site(0).plans.back().snapshot_round(), 9u);
  EXPECT_EQ(federation_.site(0).state()->round, 9u);
}

TEST_F(BehindAPrunedLog, ASiteThatBecomesReadyTooLateIsSentNoCommitThatIsGone) {
  federation_.site(0).idle = true;
  federation_.site(0).Connect();
  federation_.Settle();
  ASSERT_EQ(federation_.site(0).plans.back().target_round(), 2u);
  GoOn();
  v1::WorkerMessage message;
  message.mutable_ready()->set_run_id(run_);
  message.mutable_ready()->set_round(2);
  message.mutable_ready()->set_state_hash(DigestBytes((*federation_.journal().CommitSummaries(run_))[1].state_hash));
  federation_.site(0).received.clear();
  federation_.site(0).Say(std::move(message));
  federation_.Settle();
  EXPECT_EQ(federation_.site(0).plans.back().snapshot_round(), 9u);
  for (const v1::CoordinatorMessage& received : federation_.site(0).received) {
    EXPECT_FALSE(received.has_commit());
  }
}

TEST_F(Pruning, AJournalOfAnEarlierReleaseKeepsAll) {
  federation_.Crash();
  const std::string journal = federation_.folder() + "/journal.db";
  std::filesystem::remove(journal);
  ASSERT_TRUE(CreateJournal(journal, kFormatWithPruning - 1, JournalDisk::Real()).ok());
  ASSERT_TRUE(federation_.Restart().ok());
  const std::string run = RunTo(10);
  EXPECT_EQ(Pruned(run), 0u);
  EXPECT_TRUE(Export(run, 5).ok());
}

TEST_F(Pruning, RoundsAndBytesWithoutEffectAreRefused) {
  federation_.config.mutable_log()->set_keep(v1::LogConfig::ALL);
  federation_.config.mutable_log()->set_rounds(5);
  const absl::Status status = federation_.Restart();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("log: `rounds` and `bytes` say what stays besides, with `keep: since_snapshot`"));
}

// A crash between the pruning of the snapshots and of the log, and a lost snapshot file after it.
TEST_F(Pruning, WithoutTheOlderSnapshotsCommitsALostFileIsNotRebuiltFromNothing) {
  RunTo(10);
  federation_.Crash();
  ASSERT_TRUE(std::filesystem::remove(federation_.NewestSnapshotFile()));
  const absl::Status status = federation_.Restart();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("missing although the journal names it"));
}

}  // namespace
}  // namespace tributary::coordinator
