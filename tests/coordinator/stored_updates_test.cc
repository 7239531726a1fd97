// Updates and commits too long for the journal's tables: files that it names.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

// Everything of a dense mode is longer.
constexpr uint64_t kShort = 16;

std::vector<std::string> FilesOf(const Federation& federation, const std::string& suffix) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(federation.folder() + "/snapshots")) {
    if (absl::EndsWith(entry.path().string(), suffix)) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string HashAfter(const std::string& mode, uint64_t max_inline) {
  Federation federation(3, 2, max_inline);
  const std::string run = Submit(federation, MakeSpec("toy", 4, 3, mode));
  federation.ConnectAll();
  federation.RunToEnd(run);
  return CommonHash(federation, run);
}

TEST(StoredUpdates, TheModelIsTheSameWhereverItsUpdatesAre) {
  for (const char* const mode : {"allreduce", "fedavg", "diloco"}) {
    EXPECT_EQ(HashAfter(mode, kShort), HashAfter(mode, 262144)) << mode;
  }
}

TEST(StoredUpdates, GoWithTheSnapshotThatCoversThemAndCommitsStay) {
  Federation federation(2, /*snapshot_every=*/2, kShort);
  federation.site(1).alter = [](std::string& payload, uint64_t round) {
    if (round == 4) {
      payload.clear();
    }
  };
  const std::string run = Submit(federation, MakeSpec("toy", 10, 2, "fedavg"));
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).round(), 3u);
  EXPECT_THAT(FilesOf(federation, ".update"), SizeIs(3)) << "two of round 3, one of round 4; the snapshot of round 2 covers the others";
  EXPECT_THAT(FilesOf(federation, ".commit"), SizeIs(3));
  EXPECT_THAT(*federation.journal().PayloadFiles(run), SizeIs(6));
}

TEST(StoredUpdates, ARestartGoesOnWithThem) {
  const std::string expected = HashAfter("allreduce", kShort);
  Federation federation(3, 100, kShort);
  federation.site(2).alter = [](std::string& payload, uint64_t round) {
    if (round == 3) {
      payload.clear();
    }
  };
  const std::string run = Submit(federation, MakeSpec("toy", 4, 3, "allreduce"));
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).round(), 2u);
  federation.Crash();
  federation.site(2).alter = nullptr;
  ASSERT_TRUE(federation.Restart().ok());
  federation.ConnectAll();
  federation.RunToEnd(run);
  EXPECT_EQ(CommonHash(federation, run), expected);
}

TEST(StoredUpdates, ARestartClearsAwayWhatTheJournalDoesNotName) {
  Federation federation(2, 100, kShort);
  Submit(federation, MakeSpec("toy", 2, 2, "fedavg"));
  federation.ConnectAll();
  const std::vector<std::string> before = FilesOf(federation, "");
  for (const char* const name : {"toy-1-000000000009-site-0-1.update", "toy-1-000000000009.commit"}) {
    std::ofstream(absl::StrCat(federation.folder(), "/snapshots/", name)) << "half";
  }
  federation.Crash();
  ASSERT_TRUE(federation.Restart().ok());
  EXPECT_EQ(FilesOf(federation, ""), before);
}

TEST(StoredUpdates, ADamagedFileIsFoundAtTheRestartAndNamed) {
  for (const char* const kind : {".update", ".commit"}) {
    Federation federation(2, 100, kShort);
    federation.site(1).alter = [](std::string& payload, uint64_t round) {
      if (round == 2) {
        payload.clear();
      }
    };
    Submit(federation, MakeSpec("toy", 4, 2, "fedavg"));
    federation.ConnectAll();
    federation.Crash();
    // Of the open round's update, or of the last commit.
    const std::string path = absl::StrCat(federation.folder(), "/snapshots/", FilesOf(federation, kind).back());
    std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(30).put('\x7f');
    const absl::Status restarted = federation.Restart();
    EXPECT_TRUE(absl::IsDataLoss(restarted)) << kind << ": " << restarted;
    std::filesystem::remove(path);
    const absl::Status missing = federation.Restart();
    EXPECT_TRUE(absl::IsDataLoss(missing)) << kind << ": " << missing;
    EXPECT_THAT(std::string(missing.message()), HasSubstr(path));
  }
}

TEST(StoredUpdates, OneThatIsRefusedLeavesNoFile) {
  Federation federation(2, 100, kShort);
  federation.site(1).alter = [](std::string& payload, uint64_t round) {
    if (round == 1) {
      payload.replace(payload.size() - 2, 2, "\x7f\x7f");  // beyond the bound
    } else {
      payload.clear();
    }
  };
  const std::string run = Submit(federation, MakeSpec("toy", 3, 2, "fedavg"));
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).round(), 1u);
  EXPECT_EQ(SiteOf(federation.Status(run), "site-1").updates_rejected(), 1u);
  EXPECT_THAT(FilesOf(federation, ".update"), SizeIs(2)) << "of site-0, in both rounds";
}

TEST(StoredUpdates, ADownloadEndsAlthoughItsSnapshotIsPrunedMeanwhile) {
  Federation federation(2, /*snapshot_every=*/1, kShort);
  const std::string run = Submit(federation, MakeSpec("toy", 4, 2, "fedavg"));
  federation.site(1).silent = true;
  federation.ConnectAll();
  federation.site(0).alter = [](std::string& payload, uint64_t round) {
    if (round == 2) {
      payload.clear();
    }
  };
  federation.site(1).silent = false;
  federation.site(1).Disconnect();
  federation.site(1).ForgetState();
  federation.site(1).Connect();
  federation.Settle();
  ASSERT_EQ(federation.Status(run).round(), 1u);
  federation.Advance(absl::Seconds(1));
  v1::DownloadRequest request;
  request.set_run_id(run);
  request.set_snapshot_round(1);
  const absl::StatusOr<SharedBytes> download = federation.coordinator().OpenDownload(request, "site-0");
  ASSERT_TRUE(download.ok()) << download.status();
  federation.site(0).alter = nullptr;
  federation.RunToEnd(run);
  ASSERT_EQ(federation.Status(run).state(), v1::FINISHED);
  ASSERT_THAT(FilesOf(federation, ".snapshot"), Each(Not(HasSubstr("-000000000001."))));
  const absl::StatusOr<std::string> bytes = ReadAll(**download);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(bytes->size(), (*download)->size());
}

TEST(StoredUpdates, SitesAreToldOfARoundBeforeTheSnapshotOfTheLastIsWritten) {
  Federation federation(2, /*snapshot_every=*/1, kShort);
  const auto withhold = [](std::string& payload, uint64_t round) {
    if (round == 2) {
      payload.clear();
    }
  };
  federation.site(0).alter = withhold;
  federation.site(1).alter = withhold;
  const std::string run = Submit(federation, MakeSpec("toy", 4, 2, "fedavg"));
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).round(), 1u);
  EXPECT_THAT(FilesOf(federation, ".snapshot"), Each(Not(HasSubstr("-000000000001."))));
  federation.Advance(absl::Seconds(1));
  EXPECT_THAT(FilesOf(federation, ".snapshot"), Contains(HasSubstr("-000000000001.")));
}

TEST(StoredUpdates, ASnapshotIsWrittenBeforeTheNextCommitAtTheLatest) {
  Federation federation(2, /*snapshot_every=*/1, kShort);
  federation.site(0).alter = [](std::string& payload, uint64_t round) {
    if (round == 3) {
      payload.clear();
    }
  };
  const std::string run = Submit(federation, MakeSpec("toy", 4, 2, "fedavg"));
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).round(), 2u) << "no time has passed";
  EXPECT_THAT(FilesOf(federation, ".snapshot"), Contains(HasSubstr("-000000000001.")));
  // That of round 2 is owed when the process dies.
  ASSERT_TRUE(federation.Restart().ok());
  federation.site(0).alter = nullptr;
  federation.RunToEnd(run);
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
}

TEST(HeldUpdates, CountBeforeAPauseThatComesAfterThem) {
  Federation federation(2, 100);
  std::string payload;
  std::string base;
  federation.site(1).alter = [&payload](std::string& sent, uint64_t round) {
    if (round == 1) {
      payload = std::exchange(sent, "");
    }
  };
  const std::string run = Submit(federation, MakeSpec("toy", 10, 2));
  federation.ConnectAll();
  ASSERT_FALSE(payload.empty());
  federation.site(1).Say(UpdateMessage(run, 1, federation.site(1).StateHash(), payload));
  // It is held now, and would close the round.
  ASSERT_TRUE(federation.coordinator().PauseRun(run, {"anna", "maintenance"}).ok());
  federation.Settle();
  EXPECT_EQ((*federation.journal().Runs())[0].state, v1::PAUSED);
  ASSERT_TRUE(federation.Restart().ok());
  EXPECT_EQ(federation.Status(run).state(), v1::PAUSED);
}

TEST(HeldUpdates, ThoseThatComeTogetherShareOneWrite) {
  Federation federation(4, 100);
  const std::string run = Submit(federation, MakeSpec("toy", 100, 4, "distro", "evaluation: {every: 1000}"));
  federation.site(3).silent = true;
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).round(), 0u);
  const int before = federation.journal().writes();
  federation.site(3).silent = false;
  federation.site(3).Disconnect();
  federation.site(3).ForgetState();
  federation.site(3).Connect();
  federation.Settle();
  const uint64_t rounds = federation.Status(run).round();
  ASSERT_GT(rounds, 10u);
  // A start, the four updates and a commit; besides, a snapshot now and then.
  EXPECT_LE(federation.journal().writes() - before, static_cast<int>(3 * rounds + 20));
}

}  // namespace
}  // namespace tributary::coordinator
