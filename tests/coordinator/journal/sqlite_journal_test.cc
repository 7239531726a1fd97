#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/open_journal.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/updates_of.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/commit.h"
#include "tests/coordinator/journal/journal_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::vector<std::string> SitesOf(const absl::StatusOr<std::vector<JournaledUpdate>>& updates) {
  EXPECT_TRUE(updates.ok()) << updates.status();
  std::vector<std::string> sites;
  for (const JournaledUpdate& update : *updates) {
    sites.push_back(update.site);
  }
  return sites;
}

TEST_F(SqliteJournalTest, KeepsRunsInTheOrderSubmitted) {
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->AddRun(MakeRun("second-by-name")).ok());
    ASSERT_TRUE(journal->AddRun(MakeRun("first-by-name")).ok());
    ASSERT_TRUE(journal->SetRunState("second-by-name", v1::FINISHED, "all rounds committed", 99).ok());
    EXPECT_EQ(journal->AddRun(MakeRun("first-by-name")).code(), absl::StatusCode::kAlreadyExists);
    JournaledRun extended = MakeRun("first-by-name");
    extended.spec.set_rounds(4711);
    ASSERT_TRUE(journal->ReplaceRun(extended).ok());
    EXPECT_TRUE(absl::IsNotFound(journal->ReplaceRun(MakeRun("third"))));
  }
  const absl::StatusOr<std::vector<JournaledRun>> runs = Open()->Runs();
  ASSERT_TRUE(runs.ok()) << runs.status();
  ASSERT_THAT(*runs, SizeIs(2));
  EXPECT_EQ((*runs)[0].run_id, "second-by-name");
  EXPECT_EQ((*runs)[0].state, v1::FINISHED);
  EXPECT_EQ((*runs)[0].reason, "all rounds committed");
  EXPECT_EQ((*runs)[0].finished_unix_ms, 99);
  EXPECT_EQ((*runs)[0].submitted_unix_ms, 1234);
  EXPECT_EQ((*runs)[0].spec.name(), "bible");
  EXPECT_EQ((*runs)[1].state, v1::RUNNING);
  EXPECT_EQ((*runs)[1].spec.rounds(), 4711U);
}

TEST_F(SqliteJournalTest, KeepsTheOpenRoundAndItsUpdatesInTheOrderAccepted) {
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
    EXPECT_FALSE(journal->OpenRound("run")->has_value());
    ASSERT_TRUE(journal->StartRound("run", {1, {"paris", "berlin"}}).ok());
    ASSERT_TRUE(journal->AddUpdate("run", 1, MakeUpdate("paris", "p")).ok());
    ASSERT_TRUE(journal->AddUpdate("run", 1, MakeUpdate("berlin", "")).ok());
  }
  const auto journal = Open();
  const absl::StatusOr<std::optional<JournaledRound>> round = journal->OpenRound("run");
  ASSERT_TRUE(round.ok() && round->has_value()) << round.status();
  EXPECT_EQ((*round)->round, 1);
  EXPECT_THAT((*round)->members, ElementsAre("paris", "berlin"));
  const absl::StatusOr<std::vector<JournaledUpdate>> updates = UpdatesOf(*journal, "run", 1);
  EXPECT_THAT(SitesOf(updates), ElementsAre("paris", "berlin"));
  EXPECT_EQ((*updates)[0].payload, "p");
  EXPECT_EQ((*updates)[0].report.train_loss(), 1.5F);
}

TEST_F(SqliteJournalTest, TakesTheSameUpdateTwiceAndRefusesAnother) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  ASSERT_TRUE(journal->StartRound("run", {1, {"paris"}}).ok());
  ASSERT_TRUE(journal->AddUpdate("run", 1, MakeUpdate("paris", "same")).ok());
  EXPECT_TRUE(journal->AddUpdate("run", 1, MakeUpdate("paris", "same")).ok());
  EXPECT_EQ(journal->AddUpdate("run", 1, MakeUpdate("paris", "other")).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(*UpdatesOf(*journal, "run", 1), SizeIs(1));
}

TEST_F(SqliteJournalTest, DropsTheUpdatesOfAnAbandonedRoundButNotOfTheSameOneStartedAgain) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  ASSERT_TRUE(journal->StartRound("run", {1, {"paris"}}).ok());
  ASSERT_TRUE(journal->AddUpdate("run", 1, MakeUpdate("paris", "p")).ok());
  ASSERT_TRUE(journal->StartRound("run", {1, {"paris", "rome"}}).ok());
  EXPECT_THAT(*UpdatesOf(*journal, "run", 1), SizeIs(1));
  ASSERT_TRUE(journal->StartRound("run", {2, {"paris"}}).ok());
  EXPECT_THAT(*UpdatesOf(*journal, "run", 1), IsEmpty());
}

TEST_F(SqliteJournalTest, ClosesTheOpenRoundWithItsCommitAndKeepsItsUpdatesForRecovery) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  ASSERT_TRUE(journal->StartRound("run", {1, {"paris"}}).ok());
  ASSERT_TRUE(journal->AddUpdate("run", 1, MakeUpdate("paris", "p")).ok());
  AddCommits(*journal, "run", 1, 1);
  EXPECT_FALSE(journal->OpenRound("run")->has_value());
  ASSERT_TRUE(journal->StartRound("run", {2, {"paris"}}).ok());
  EXPECT_THAT(*UpdatesOf(*journal, "run", 1), SizeIs(1));
}

TEST_F(SqliteJournalTest, RefusesACommitOutOfTurn) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  AddCommits(*journal, "run", 1, 2);
  EXPECT_EQ(journal->AddCommit("run", 2, MakeCommit(2, {}, "x")).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(journal->AddCommit("run", 4, MakeCommit(4, {}, "x")).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(*journal->LastCommit("run"), 2);
}

TEST_F(SqliteJournalTest, RefusesACommitThatDoesNotContinueTheChain) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  AddCommits(*journal, "run", 1, 1);
  EXPECT_FALSE(journal->AddCommit("run", 2, MakeCommit(2, Digest{}, "x")).ok());
  EXPECT_EQ(*journal->LastCommit("run"), 1);
}

TEST_F(SqliteJournalTest, KnowsTheNewestCommitOfEachSite) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  EXPECT_EQ(*journal->LastIncluded("run", "berlin"), 0u);
  AddCommits(*journal, "run", 1, 3);
  EXPECT_EQ(*journal->LastIncluded("run", "berlin"), 3u);
  EXPECT_EQ(*journal->LastIncluded("run", "paris"), 3u);
  EXPECT_EQ(*journal->LastIncluded("run", "pari"), 0u) << "a part of a name is another site";
}

TEST_F(SqliteJournalTest, ReplaysCommitsInOrderAndStopsAtTheVisitorsError) {
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
    AddCommits(*journal, "run", 1, 5);
  }
  const auto journal = Open();
  std::vector<uint64_t> rounds;
  ASSERT_TRUE(journal
                  ->VisitCommits("run", 2, 5,
                                 [&](uint64_t round, const JournaledCommit& commit) {
                                   EXPECT_EQ(optim::DecodeCommit(commit.record)->payload, absl::StrCat("payload", round));
                                   EXPECT_THAT(commit.included, ElementsAre("berlin", "paris"));
                                   rounds.push_back(round);
                                   return absl::OkStatus();
                                 })
                  .ok());
  EXPECT_THAT(rounds, ElementsAre(2, 3, 4, 5));
  const absl::Status stopped = journal->VisitCommits(
      "run", 1, 5, [&](uint64_t round, const JournaledCommit&) { return round < 3 ? absl::OkStatus() : absl::AbortedError("enough"); });
  EXPECT_EQ(stopped.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(journal->VisitCommits("run", 5, 6, [](uint64_t, const JournaledCommit&) { return absl::OkStatus(); }).code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(journal->Commit("run", 6).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SqliteJournalTest, AllowsOtherReadsWhileCommitsAreVisited) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  AddCommits(*journal, "run", 1, 3);
  ASSERT_TRUE(journal
                  ->VisitCommits("run", 1, 3,
                                 [&](uint64_t round, const JournaledCommit&) {
                                   return journal->VisitCommits("run", 1, round, [&](uint64_t inner, const JournaledCommit&) {
                                     return journal->Commit("run", inner).status();
                                   });
                                 })
                  .ok());
}

TEST_F(SqliteJournalTest, SummarisesCommitsAndReplacesTheAccountsOfTheNewest) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  EXPECT_TRUE(journal->SiteTotals("run")->empty());
  AddCommits(*journal, "run", 1, 3);
  v1::RoundRecord record;
  record.set_round(3);
  record.set_bytes_up(4711);
  v1::SiteStatus site;
  site.set_site("rome");
  ASSERT_TRUE(journal->ReplaceAccounts("run", record, {site}).ok());
  record.set_round(2);
  EXPECT_EQ(journal->ReplaceAccounts("run", record, {}).code(), absl::StatusCode::kFailedPrecondition);

  const absl::StatusOr<std::vector<CommitSummary>> summaries = journal->CommitSummaries("run");
  ASSERT_TRUE(summaries.ok()) << summaries.status();
  ASSERT_THAT(*summaries, SizeIs(3));
  EXPECT_EQ((*summaries)[0].round_record.bytes_up(), 17);
  EXPECT_EQ((*summaries)[2].round_record.bytes_up(), 4711);
  EXPECT_EQ((*summaries)[2].record_bytes, journal->Commit("run", 3)->record.size());
  ASSERT_EQ(journal->SiteTotals("run")->size(), 1U);
  EXPECT_EQ((*journal->SiteTotals("run"))[0].site(), "rome");
}

TEST_F(SqliteJournalTest, PrunesTheOldestRecordsAndKeepsTheChain) {
  std::string fourth;
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
    AddCommits(*journal, "run", 1, 5);
    EXPECT_EQ(*journal->PrunedThrough("run"), 0u);
    fourth = journal->Commit("run", 4)->record;
    EXPECT_EQ(journal->PruneCommits("run", 3).status().code(), absl::StatusCode::kFailedPrecondition) << "no snapshot";
    ASSERT_TRUE(journal->AddSnapshot("run", {4, "run-4.snapshot", Sha256("four"), "", {}}).ok());
    EXPECT_EQ(journal->PruneCommits("run", 5).status().code(), absl::StatusCode::kFailedPrecondition) << "newer than the snapshot";
    EXPECT_EQ(*journal->PruneCommits("run", 2), 2u);
    EXPECT_EQ(*journal->PruneCommits("run", 3), 3u);
    EXPECT_EQ(*journal->PruneCommits("run", 1), 3u) << "nothing comes back";
  }
  const auto journal = Open();
  EXPECT_EQ(*journal->PrunedThrough("run"), 3u);
  EXPECT_EQ(journal->Commit("run", 2)->record, "");
  EXPECT_EQ(journal->Commit("run", 2)->included.size(), 2u);
  EXPECT_EQ(journal->Commit("run", 4)->record, fourth);
  EXPECT_EQ((*journal->CommitSummaries("run"))[2].round_record.bytes_up(), 51);
  std::vector<uint64_t> seen;
  const auto visit = [&seen](uint64_t round, const JournaledCommit&) {
    seen.push_back(round);
    return absl::OkStatus();
  };
  EXPECT_EQ(journal->VisitCommits("run", 3, 5, visit).code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(journal->VisitCommits("run", 4, 5, visit).ok());
  EXPECT_THAT(seen, ElementsAre(4, 5));
  EXPECT_TRUE(journal->CheckRun(MakeRun("run")).ok());
  AddCommits(*journal, "run", 6, 6);
}

TEST_F(SqliteJournalTest, GivesPrunedSpaceBackToTheFileSystem) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  AddCommits(*journal, "run", 1, 24, std::string(8 << 20, 'x'));
  ASSERT_TRUE(journal->AddSnapshot("run", {24, "run-24.snapshot", Sha256("x"), "", {}}).ok());
  EXPECT_EQ(*journal->PruneCommits("run", 22), 22u);
  // What was logged just now might be needed again.
  ASSERT_TRUE(Database::Open(path(), path(), SQLITE_OPEN_READWRITE).value()->Execute("PRAGMA wal_checkpoint(TRUNCATE)").ok());
  const uint64_t reserved = std::filesystem::file_size(path());
  AddCommits(*journal, "run", 25, 25, "small");
  ASSERT_TRUE(journal->AddSnapshot("run", {25, "run-25.snapshot", Sha256("x"), "", {}}).ok());
  EXPECT_EQ(*journal->PruneCommits("run", 24), 24u);
  ASSERT_TRUE(Database::Open(path(), path(), SQLITE_OPEN_READWRITE).value()->Execute("PRAGMA wal_checkpoint(TRUNCATE)").ok());
  EXPECT_LE(std::filesystem::file_size(path()), reserved / 2);
}

TEST_F(SqliteJournalTest, KeepsTheNewestValidationLossOfEachRound) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  ASSERT_TRUE(journal->SetEvaluation("run", 0, {5.5}).ok());
  ASSERT_TRUE(journal->SetEvaluation("run", 25, {2.5}).ok());
  ASSERT_TRUE(journal->SetEvaluation("run", 25, {2.25, {{"accuracy", 0.75}}}).ok());
  EXPECT_EQ(*journal->Evaluations("run"), (JournaledEvaluations{{0, {5.5}}, {25, {2.25, {{"accuracy", 0.75}}}}}));
}

TEST_F(SqliteJournalTest, PrunesTheUpdatesThatASnapshotCovers) {
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
    for (uint64_t round = 1; round <= 3; ++round) {
      ASSERT_TRUE(journal->StartRound("run", {round, {"paris"}}).ok());
      ASSERT_TRUE(journal->AddUpdate("run", round, MakeUpdate("paris", "p")).ok());
      AddCommits(*journal, "run", round, round);
    }
    Digest hash{};
    hash.fill(7);
    ASSERT_TRUE(journal->AddSnapshot("run", {0, "zero.snapshot", hash, "", {}}).ok());
    ASSERT_TRUE(journal->AddSnapshot("run", {2, "two.snapshot", hash, "two.aggregator", hash}).ok());
  }
  const auto journal = Open();
  EXPECT_THAT(*UpdatesOf(*journal, "run", 2), IsEmpty());
  EXPECT_THAT(*UpdatesOf(*journal, "run", 3), SizeIs(1));
  const absl::StatusOr<std::vector<JournaledSnapshot>> snapshots = journal->Snapshots("run");
  ASSERT_THAT(*snapshots, SizeIs(2));
  EXPECT_EQ((*snapshots)[1].file, "two.snapshot");
  EXPECT_EQ((*snapshots)[1].aggregator_file, "two.aggregator");
  EXPECT_EQ((*snapshots)[1].aggregator_hash[0], 7);
  EXPECT_EQ((*snapshots)[1].state_hash[0], 7);
  ASSERT_TRUE(journal->RemoveSnapshot("run", 2).ok());
  EXPECT_THAT(*journal->Snapshots("run"), SizeIs(1));
}

TEST_F(SqliteJournalTest, KeepsTheLatestArrivals) {
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
    EXPECT_THAT((*journal->LatestArrivals("run"))[0], IsEmpty());
    AddCommits(*journal, "run", 1, 2);
  }
  const auto journal = Open();
  EXPECT_THAT((*journal->LatestArrivals("run"))[0], ElementsAre(absl::Seconds(2), absl::Milliseconds(1500)));
  EXPECT_THAT((*journal->LatestArrivals("run"))[1], IsEmpty());
}

TEST_F(SqliteJournalTest, HoldsOneUpdateAtATime) {
  constexpr int kUpdates = 64;
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  ASSERT_TRUE(journal->StartRound("run", {1, {"paris"}}).ok());
  for (int i = 0; i < kUpdates; ++i) {
    // Accepted in another order than that of their names.
    ASSERT_TRUE(journal->AddUpdate("run", 1, MakeUpdate(absl::StrCat("site-", 1000 - i), std::string(1 << 20, static_cast<char>(i)))).ok());
  }
  sqlite3_memory_highwater(/*resetFlag=*/1);
  const int64_t before = sqlite3_memory_used();
  int seen = 0;
  const absl::Status visited = journal->VisitUpdates("run", 1, [&](const JournaledUpdate& update) {
    EXPECT_EQ(update.payload[0], static_cast<char>(seen)) << "in the order accepted";
    ++seen;
    return absl::OkStatus();
  });
  EXPECT_TRUE(visited.ok()) << visited;
  EXPECT_EQ(seen, kUpdates);
  EXPECT_LT(sqlite3_memory_highwater(0) - before, 6 << 20);
}

TEST_F(SqliteJournalTest, WritesWhatWasNotedWithTheNextWriteAndNotBefore) {
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
    journal->NoteEvent("run", {5, "paris", "late", 1, "round 1 is closed"});
    journal->NoteEvidence("run", {6, "paris", 1, "reported", "log", "0.1.0"});
    EXPECT_THAT(*journal->Events("run"), IsEmpty());
    ASSERT_TRUE(journal->StartRound("run", {1, {"paris"}}).ok());
    EXPECT_THAT(*journal->Events("run"), SizeIs(1));
    journal->NoteEvent("run", {7, "oslo", "left", 1, "shutting down"});
    ASSERT_TRUE(journal->Flush().ok());
    journal->NoteEvent("run", {8, "oslo", "joined", 2, ""});
    journal->NoteEvent("other", {8, "oslo", "joined", 2, ""});
  }
  const auto journal = Open();
  const std::vector<JournaledEvent> events = *journal->Events("run");
  ASSERT_THAT(events, SizeIs(2)) << "the last was never written";
  EXPECT_EQ(events[0].unix_ms, 5);
  EXPECT_EQ(events[0].site, "paris");
  EXPECT_EQ(events[0].kind, "late");
  EXPECT_EQ(events[0].round, 1u);
  EXPECT_EQ(events[0].detail, "round 1 is closed");
  EXPECT_EQ(events[1].kind, "left");
  const std::vector<JournaledEvidence> evidence = *journal->Evidence("run");
  ASSERT_THAT(evidence, SizeIs(1));
  EXPECT_EQ(evidence[0].reported_hash, "reported");
  EXPECT_EQ(evidence[0].log_hash, "log");
  EXPECT_EQ(evidence[0].software_version, "0.1.0");
}

TEST_F(SqliteJournalTest, AFloodOfOneSiteNeitherGrowsItWithoutBoundNorWashesOutWhatIsKnownOfOthers) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  ASSERT_TRUE(journal->AddRun(MakeRun("other")).ok());
  journal->NoteEvidence("run", {1, "oslo", 1, "reported", "log", "0.1.0"});
  journal->NoteEvent("run", {1, "oslo", "quarantined", 1, ""});
  journal->NoteEvidence("other", {1, "paris", 1, "reported", "log", "0.1.0"});
  for (int64_t i = 2; i < 15'000; ++i) {
    journal->NoteEvent("run", {i, "paris", "rejected", 1, "size"});
    journal->NoteEvidence("run", {i, "paris", 1, "reported", "log", "0.1.0"});
    if (i % 50 == 49) {
      ASSERT_TRUE(journal->Flush().ok());
    }
  }
  EXPECT_EQ(journal->Events("run")->size(), kMaxEventsOfSite + 1u);
  EXPECT_EQ(journal->Events("run")->front().site, "oslo");
  EXPECT_EQ(journal->Events("run")->back().unix_ms, 14'999);
  EXPECT_EQ(journal->Evidence("run")->size(), kMaxEvidenceOfSite + 1u);
  EXPECT_EQ(journal->Evidence("run")->front().site, "oslo");
  EXPECT_THAT(*journal->Evidence("other"), SizeIs(1));
  for (int64_t i = 0; i < 5'000; ++i) {
    journal->NoteEvent("run", {i, "paris", "rejected", 1, "size"});
  }
  journal->NoteEvent("run", {1, "oslo", "left", 1, ""});
  ASSERT_TRUE(journal->Flush().ok());
  const std::vector<JournaledEvent> events = *journal->Events("run");
  EXPECT_EQ(events.back().kind, "left");
  EXPECT_EQ(events[events.size() - 2].unix_ms, kMaxNotedOfSite - 1);
}

TEST_F(SqliteJournalTest, KeepsTheNewestEventsOfAll) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  for (int site = 0; site < 101; ++site) {
    for (int64_t i = 0; i < kMaxNotedOfSite; ++i) {
      journal->NoteEvent("run", {i, absl::StrCat("site-", site), "late", 1, ""});
    }
    ASSERT_TRUE(journal->Flush().ok());
  }
  EXPECT_EQ(journal->Events("run")->size(), static_cast<size_t>(kMaxEvents));
  EXPECT_EQ(journal->Events("run")->front().site, "site-1");
}

TEST_F(SqliteJournalTest, KnowsNothingOfARunThatWasNotAdded) {
  const auto journal = Open();
  EXPECT_EQ(journal->StartRound("other", {1, {}}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(journal->LastCommit("other").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SqliteJournalTest, RefusesASecondCoordinatorInTheSameFolder) {
  const auto journal = Open();
  const absl::StatusOr<std::unique_ptr<Journal>> second = OpenSqliteJournal(path());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("a running coordinator"));
  EXPECT_EQ(ExitCodeOf(second.status()), ExitCode::kStorage);
}

TEST_F(SqliteJournalTest, TellsTheObserverOfEveryDurableWrite) {
  int writes = 0;
  const auto journal = OpenSqliteJournal(path(), [&](double seconds) {
    EXPECT_GT(seconds, 0);
    ++writes;
  });
  ASSERT_TRUE((*journal)->AddRun(MakeRun("run")).ok());
  ASSERT_TRUE((*journal)->StartRound("run", {1, {"paris"}}).ok());
  ASSERT_TRUE((*journal)->AddUpdate("run", 1, MakeUpdate("paris", "p")).ok());
  ASSERT_TRUE((*journal)->AddUpdate("run", 1, MakeUpdate("paris", "p")).ok());  // known: nothing to write
  EXPECT_EQ(writes, 3);
}

TEST_F(SqliteJournalTest, SaysTheSameAfterReopeningAtAnyPoint) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  Digest chain{};
  uint64_t last = 0;
  std::set<std::string> sent;  // in the open round
  for (int step = 0; step < 300; ++step) {
    switch (random() % 6) {
      case 0:
        ASSERT_TRUE(journal->StartRound("run", {last + 1, {"a", "b", "c"}}).ok());
        break;
      case 1: {
        const std::string site(1, static_cast<char>('a' + random() % 3));
        const absl::Status status = journal->AddUpdate("run", last + 1, MakeUpdate(site, absl::StrCat(site, " of ", last + 1)));
        ASSERT_TRUE(status.ok()) << status;
        sent.insert(site);
        ASSERT_THAT(*UpdatesOf(*journal, "run", last + 1), SizeIs(sent.size()));
        break;
      }
      case 2: {
        const JournaledCommit commit = MakeCommit(last + 1, chain, std::string(random() % 20000, 'x'));
        ASSERT_TRUE(journal->AddCommit("run", last + 1, commit).ok());
        chain = commit.chain_hash;
        ++last;
        sent.clear();
        break;
      }
      case 3:
        ASSERT_TRUE(journal->AddSnapshot("run", {last, absl::StrCat("s", last), {}, absl::StrCat("a", last), {}}).ok());
        break;
      case 4:
        ASSERT_TRUE(journal->SetEvaluation("run", random() % (last + 1), {0.5}).ok());
        break;
      default: {
        const absl::StatusOr<std::string> before = Describe(*journal);
        ASSERT_TRUE(before.ok()) << before.status();
        journal.reset();
        journal = Open();
        ASSERT_NE(journal, nullptr);
        const absl::StatusOr<std::string> after = Describe(*journal);
        ASSERT_TRUE(after.ok()) << after.status();
        ASSERT_EQ(*before, *after);
      }
    }
  }
  EXPECT_EQ(*journal->LastCommit("run"), last);
}

TEST_F(SqliteJournalTest, KeepsWhatWasAcknowledgedWhenTheProcessIsKilled) {
  // A child writes and dies without a word; its write-ahead log is all that is left of the last writes.
  const pid_t child = fork();
  if (child == 0) {
    auto journal = OpenSqliteJournal(path());
    if (!journal.ok() || !(*journal)->AddRun(MakeRun("run")).ok()) {
      _exit(1);
    }
    Digest previous{};
    for (uint64_t round = 1; round <= 20; ++round) {
      const JournaledCommit commit = MakeCommit(round, previous, "p");
      if (!(*journal)->AddCommit("run", round, commit).ok()) {
        _exit(1);
      }
      previous = commit.chain_hash;
    }
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(*Open()->LastCommit("run"), 20);
}

TEST_F(SqliteJournalTest, SaysWhichFolderCannotBeWritten) {
  const absl::StatusOr<std::unique_ptr<Journal>> journal = OpenSqliteJournal(folder_.File("none/journal.db"));
  EXPECT_FALSE(journal.ok());
  EXPECT_EQ(ExitCodeOf(journal.status()), ExitCode::kStorage);
  EXPECT_THAT(std::string(journal.status().message()), HasSubstr(folder_.File("none")));
}

}  // namespace
}  // namespace tributary::coordinator
