// `tributary journal` on the folder of a real coordinator, in one thread with sites that train on invented gradients.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "coordinator/journal/journal_disk.h"
#include "coordinator/journal/journal_format.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/updates_of.h"
#include "coordinator/journal_tool.h"
#include "tests/cli/run_command.h"
#include "tests/coordinator/federation.h"

namespace tributary::cli {
namespace {

using coordinator::Federation;
using coordinator::MakeSpec;
using coordinator::Submit;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using Json = nlohmann::json;

// A run of 12 rounds that stands after round 8, with snapshots of rounds 0, 3 and 6, round 9 open and site-1's update missing in it.
class JournalCommand : public ::testing::Test {
 protected:
  explicit JournalCommand(int64_t format = coordinator::kNewestFormat, v1::LogConfig::Keep keep = v1::LogConfig::ALL)
      : federation_(2, /*snapshot_every=*/3) {
    federation_.Crash();
    const std::string journal = federation_.folder() + "/journal.db";
    std::filesystem::remove(journal);
    EXPECT_TRUE(coordinator::CreateJournal(journal, format, coordinator::JournalDisk::Real()).ok());
    federation_.config.mutable_snapshots()->set_keep(2);
    federation_.config.mutable_log()->set_keep(keep);
    EXPECT_TRUE(federation_.Restart().ok());
    run_ = Submit(federation_, MakeSpec("toy", 12, 2));
    federation_.site(1).alter = [](std::string& payload, uint64_t round) {
      if (round == 9) {
        payload.clear();
      }
    };
    federation_.ConnectAll();
    EXPECT_EQ(federation_.Status(run_).round(), 8u);
    federation_.Crash();
  }
  Result Journal(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "journal");
    arguments.insert(arguments.begin() + 2, federation_.folder());
    return RunCommand(arguments);
  }
  // Restarts the coordinator and lets the run go on to its end.
  void Finish() {
    federation_.site(1).alter = nullptr;
    const absl::Status restarted = federation_.Restart();
    EXPECT_TRUE(restarted.ok()) << restarted;
    federation_.RunToEnd(run_);
    const v1::RunStatus status = federation_.Status(run_);
    EXPECT_EQ(status.state(), v1::FINISHED) << status.reason();
    EXPECT_EQ(status.round(), 12u);
    CommonHash(federation_, run_);
  }
  void FlipABit(const std::string& file) {
    std::string bytes = *ReadFile(file, 64 << 20);
    bytes[bytes.size() / 2] ^= 1;
    ASSERT_TRUE(WriteFileAtomically(file, bytes).ok());
  }
  // What people's tools and broken memory do to rows, behind the journal's back.
  void Damage(const std::string& sql) {
    const std::string path = federation_.folder() + "/journal.db";
    const auto database = coordinator::Database::Open(path, path, SQLITE_OPEN_READWRITE);
    ASSERT_TRUE(database.ok()) << database.status();
    ASSERT_TRUE((*database)->Execute(sql).ok());
  }
  // Every file in the folder with its bytes.
  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(federation_.folder())) {
      files[entry.path().string()] = entry.is_directory() ? "" : *ReadFile(entry.path().string(), 64 << 20);
    }
    return files;
  }
  std::string SnapshotPath(uint64_t round, const std::string& suffix) const {
    return absl::StrCat(federation_.folder(), "/snapshots/", run_, "-00000000000", round, suffix);
  }

  Federation federation_;
  std::string run_;
};

TEST_F(JournalCommand, VerifyPassesASoundFolderAndChangesNothing) {
  const std::string left = SnapshotPath(6, ".snapshot") + ".tmp-1-2";
  ASSERT_TRUE(WriteFileAtomically(left, "what a killed coordinator left").ok());
  const std::map<std::string, std::string> before = Files();
  const Result text = Journal({"verify"});
  EXPECT_EQ(text.code, ExitCode::kOk) << text.out << text.err;
  EXPECT_EQ(Journal({"show"}).code, ExitCode::kOk);
  EXPECT_EQ(Files(), before);
  std::filesystem::remove(left);
  EXPECT_THAT(text.out, HasSubstr(absl::StrCat("run ", run_, ": 8 commits, 3 snapshots, state ")));
  EXPECT_THAT(text.out, HasSubstr("all checks passed"));
  const Json json = Json::parse(Journal({"verify", "--format", "json"}).out);
  EXPECT_EQ(json["runs"][0]["commits"], 8);
  EXPECT_TRUE(json["problems"].empty());
  Finish();
  federation_.Crash();
  EXPECT_EQ(Journal({"verify"}).code, ExitCode::kOk);
}

TEST_F(JournalCommand, LooksAtAWorkingCoordinatorsFolderWithoutDisturbingIt) {
  ASSERT_TRUE(federation_.Restart().ok());
  federation_.ConnectAll();
  const Result verified = Journal({"verify"});
  EXPECT_EQ(verified.code, ExitCode::kOk) << verified.out << verified.err;
  EXPECT_THAT(verified.out, HasSubstr(absl::StrCat("run ", run_, ": 8 commits, 3 snapshots, state ")));
  EXPECT_THAT(Journal({"show", run_}).out, HasSubstr("round 9 is open"));
  federation_.site(1).alter = nullptr;
  for (int i = 0; i < federation_.size(); ++i) {
    federation_.site(i).Disconnect();
  }
  federation_.RunToEnd(run_);
  EXPECT_EQ(federation_.Status(run_).round(), 12u);
  CommonHash(federation_, run_);
  EXPECT_THAT(Journal({"verify"}).out, HasSubstr("12 commits"));
}

// The coordinator commits, and removes snapshots and commits, while they are checked.
TEST_F(JournalCommand, VerifySeesOneMomentOfAWorkingCoordinator) {
  federation_.config.mutable_snapshots()->set_keep(1);
  federation_.config.mutable_log()->set_keep(v1::LogConfig::SINCE_SNAPSHOT);
  ASSERT_TRUE(federation_.Restart().ok());
  bool finished = false;
  const auto result = coordinator::VerifyJournal(federation_.folder(), [&](const std::string&, uint64_t, uint64_t) {
    if (!std::exchange(finished, true)) {
      federation_.site(1).alter = nullptr;
      federation_.RunToEnd(run_);
    }
    return absl::OkStatus();
  });
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(finished);
  EXPECT_EQ(federation_.Status(run_).round(), 12u);
  EXPECT_THAT(result->problems, SizeIs(0));
  EXPECT_EQ(result->runs.at(0).commits, 8u);
}

TEST_F(JournalCommand, ChangesNothingWhileACoordinatorUsesTheFolder) {
  ASSERT_TRUE(federation_.Restart().ok());
  const Result result = Journal({"upgrade"});
  EXPECT_EQ(result.code, ExitCode::kStorage);
  EXPECT_THAT(result.err, HasSubstr("is in use by a running coordinator; stop that one"));
  EXPECT_EQ(Journal({"truncate-to", run_, "3", "--yes"}).code, ExitCode::kStorage);
}

TEST_F(JournalCommand, SaysWhereThereIsNoJournalAndMakesNone) {
  const std::string empty = federation_.folder() + "/snapshots";
  for (const std::vector<std::string>& command : {std::vector<std::string>{"journal", "verify", empty},
                                                  {"journal", "show", empty},
                                                  {"journal", "upgrade", empty},
                                                  {"journal", "truncate-to", empty, run_, "3", "--yes"}}) {
    const Result result = RunCommand(command);
    EXPECT_EQ(result.code, ExitCode::kNotFound);
    EXPECT_THAT(result.err, HasSubstr("name the coordinator's data_dir"));
  }
  EXPECT_FALSE(std::filesystem::exists(empty + "/journal.db"));
}

TEST_F(JournalCommand, VerifyNamesEveryDamagedFile) {
  FlipABit(SnapshotPath(3, ".snapshot"));
  FlipABit(SnapshotPath(6, ".aggregator"));
  const Result result = Journal({"verify"});
  EXPECT_EQ(result.code, ExitCode::kDamaged);
  EXPECT_THAT(result.out, HasSubstr(SnapshotPath(3, ".snapshot")));
  EXPECT_THAT(result.out, HasSubstr(SnapshotPath(6, ".aggregator")));
  EXPECT_THAT(result.out, Not(HasSubstr("all checks passed")));
  EXPECT_THAT(Json::parse(Journal({"verify", "--format", "json"}).out)["problems"], SizeIs(2));
}

TEST_F(JournalCommand, VerifyFindsADamagedJournal) {
  // In the middle of an update's payload, where SQLite sees nothing wrong.
  const std::string path = federation_.folder() + "/journal.db";
  std::string bytes = *ReadFile(path, 64 << 20);
  std::string payload;
  {
    ASSERT_TRUE(federation_.Restart().ok());
    payload = UpdatesOf(federation_.journal(), run_, 9)->front().payload;
    federation_.Crash();
  }
  bytes = *ReadFile(path, 64 << 20);
  const size_t place = bytes.find(payload.substr(payload.size() / 2));
  ASSERT_NE(place, std::string::npos);
  bytes[place] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  const Result result = Journal({"verify"});
  EXPECT_EQ(result.code, ExitCode::kDamaged);
  EXPECT_THAT(result.out, HasSubstr("round 9: the update of a site fails its checksum"));
  EXPECT_EQ(Journal({"show"}).code, ExitCode::kOk) << "what is sound can still be looked at";
}

TEST_F(JournalCommand, ShowsRunsRoundsAndEvidence) {
  ASSERT_TRUE(federation_.Restart().ok());
  federation_.ConnectAll();
  v1::WorkerMessage wrong;
  wrong.mutable_ready()->set_run_id(run_);
  wrong.mutable_ready()->set_round(8);
  wrong.mutable_ready()->set_state_hash(std::string(32, 'x'));
  federation_.site(0).Say(wrong);
  federation_.Crash();

  EXPECT_THAT(Journal({"show"}).out, HasSubstr(run_));
  const Result text = Journal({"show", "toy"});
  EXPECT_EQ(text.code, ExitCode::kOk) << text.err;
  EXPECT_THAT(text.out, HasSubstr("round 9 is open: members site-0, site-1; updates accepted from site-0"));
  EXPECT_THAT(text.out, HasSubstr("quarantined"));
  const Json json = Json::parse(Journal({"show", run_, "--format", "json"}).out);
  EXPECT_EQ(json["commits"].size(), 8u);
  EXPECT_EQ(json["snapshots"].size(), 3u);
  EXPECT_EQ(json["open_round"]["accepted"], Json({"site-0"}));
  ASSERT_EQ(json["evidence"].size(), 1u);
  EXPECT_EQ(json["evidence"][0]["site"], "site-0");
  EXPECT_EQ(json["evidence"][0]["reported_hash"], absl::BytesToHexString(std::string(32, 'x')));
  EXPECT_EQ(json["evidence"][0]["log_hash"], json["commits"][7]["state_hash"]);
  const Json round = Json::parse(Journal({"show", run_, "--round", "4", "--format", "json"}).out);
  EXPECT_EQ(round["included"], Json({"site-0", "site-1"}));
  EXPECT_EQ(round["chain_hash"], json["commits"][3]["chain_hash"]);
  EXPECT_EQ(Journal({"show", run_, "--round", "9"}).code, ExitCode::kNotFound);
  EXPECT_EQ(Journal({"show", "other"}).code, ExitCode::kNotFound);
  EXPECT_EQ(Journal({"show", "--round", "4"}).code, ExitCode::kUsage);
}

TEST_F(JournalCommand, ReportDrawsARunOfAStoppedCoordinator) {
  const Result result = RunCommand({"report", run_, "--data-dir", federation_.folder(), "--output", "-"});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.err;
  EXPECT_THAT(result.out, HasSubstr(absl::StrCat("Run ", run_, ", submitted")));
  EXPECT_THAT(result.out, HasSubstr("<svg"));
  EXPECT_THAT(result.out, HasSubstr("site-1"));
  EXPECT_EQ(RunCommand({"report", "nowhere", "--data-dir", federation_.folder(), "--output", "-"}).code, ExitCode::kNotFound);
}

TEST_F(JournalCommand, TruncateAsksFirst) {
  const Result result = Journal({"truncate-to", run_, "7"});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.err, HasSubstr("add --yes"));
  EXPECT_EQ(Journal({"truncate-to", run_, "9", "--yes"}).code, ExitCode::kUsage) << "there is no round 9 yet";
  EXPECT_EQ(Journal({"truncate-to", "other", "2", "--yes"}).code, ExitCode::kNotFound);
  ASSERT_TRUE(federation_.Restart().ok());
  EXPECT_EQ(federation_.Status(run_).round(), 8u);
}

// Back to every round there is: with the exact residual where the updates since a snapshot are kept, with an empty one elsewhere.
class TruncateTo : public JournalCommand, public ::testing::WithParamInterface<uint64_t> {};

TEST_P(TruncateTo, TheRunGoesOnFromThereAndACopyIsKept) {
  const uint64_t round = GetParam();
  const Json before = Json::parse(Journal({"show", run_, "--format", "json"}).out);
  const Result result = Journal({"truncate-to", run_, absl::StrCat(round), "--yes", "--format", "json"});
  ASSERT_EQ(result.code, ExitCode::kOk) << result.err;
  const Json done = Json::parse(result.out);
  EXPECT_EQ(done["dropped"], 8 - round);
  EXPECT_EQ(done["residual_known"], round % 3 == 0 || round > 6) << "the updates of rounds up to the newest snapshot are pruned";
  if (round > 0) {
    EXPECT_EQ(done["state_hash"], before["commits"][round - 1]["state_hash"]);
  }
  EXPECT_EQ(Journal({"verify"}).code, ExitCode::kOk) << Journal({"verify"}).out;
  const Json after = Json::parse(Journal({"show", run_, "--format", "json"}).out);
  EXPECT_EQ(after["commits"].size(), round);
  EXPECT_TRUE(after["open_round"].is_null());

  Finish();

  // The copy stays whole, whatever the run that goes on prunes.
  const std::string copy = done["backup"];
  const Result copied = RunCommand({"journal", "verify", copy});
  EXPECT_EQ(copied.code, ExitCode::kOk) << copied.out << copied.err;
  EXPECT_EQ(Json::parse(RunCommand({"journal", "show", copy, run_, "--format", "json"}).out), before);
  // And a coordinator goes on from it.
  federation_.Crash();
  federation_.config.set_data_dir(copy);
  Finish();
}

INSTANTIATE_TEST_SUITE_P(Rounds, TruncateTo, ::testing::Values(0, 2, 3, 5, 6, 7, 8),
                         [](const auto& info) { return absl::StrCat("Round", info.param); });

TEST_F(JournalCommand, WhatIsDamagedAfterTheRoundDoesNotKeepItFromGoingBack) {
  Damage(
      "UPDATE commits SET crc = crc + 1 WHERE round = 8; DELETE FROM commits WHERE round = 7;"
      "UPDATE updates SET crc = crc + 1; UPDATE open_rounds SET crc = crc + 1; UPDATE site_totals SET crc = crc + 1;"
      "UPDATE arrivals SET crc = crc + 1; UPDATE validation_losses SET crc = crc + 1; UPDATE snapshots SET crc = crc + 1 WHERE round = 6");
  EXPECT_EQ(Journal({"verify"}).code, ExitCode::kDamaged);
  EXPECT_EQ(ExitCodeOf(federation_.Restart()), ExitCode::kDamaged);
  const Result result = Journal({"truncate-to", run_, "5", "--yes", "--format", "json"});
  ASSERT_EQ(result.code, ExitCode::kOk) << result.err;
  EXPECT_EQ(Json::parse(result.out)["damaged"], Json({"counters", "arrival times", "validation losses"}));
  EXPECT_EQ(Journal({"verify"}).code, ExitCode::kOk) << Journal({"verify"}).out;
  Finish();
}

TEST_F(JournalCommand, WhatIsDamagedBeforeTheRoundDoes) {
  Damage("UPDATE commits SET crc = crc + 1 WHERE round = 4");
  const Result result = Journal({"truncate-to", run_, "6", "--yes"});
  EXPECT_EQ(result.code, ExitCode::kDamaged);
  EXPECT_THAT(result.err, HasSubstr("the commit of round 4"));
  EXPECT_EQ(Json::parse(Journal({"show", "--format", "json"}).out)["runs"][0]["commits"], 8) << "nothing was taken back";
  EXPECT_FALSE(std::filesystem::exists(absl::StrCat(federation_.folder(), "/before-truncate-", run_, "-6")));
  EXPECT_EQ(Journal({"truncate-to", run_, "3", "--yes"}).code, ExitCode::kOk);
  Finish();
}

TEST_F(JournalCommand, DamageInARunThatIsOverIsNamedAndNotServed) {
  Finish();
  for (int i = 0; i < federation_.size(); ++i) {
    federation_.site(i).Disconnect();
  }
  const std::string later = Submit(federation_, MakeSpec("later", 12, 2));
  federation_.Crash();
  Damage("UPDATE commits SET crc = crc + 1 WHERE run = 1 AND round = 4; UPDATE validation_losses SET crc = crc + 1 WHERE run = 1");
  const Result result = Journal({"verify"});
  EXPECT_EQ(result.code, ExitCode::kDamaged);
  EXPECT_THAT(result.out, HasSubstr(absl::StrCat("run ", run_, ": ")));
  EXPECT_THAT(result.out, HasSubstr(absl::StrCat("run ", later, ": 0 commits"))) << "the other is looked at all the same";
  EXPECT_EQ(ExitCodeOf(federation_.Restart()), ExitCode::kDamaged);
}

TEST_F(JournalCommand, ThereIsNothingToTakeBackAtTheEndOfARun) {
  Finish();
  federation_.Crash();
  const Result result = Journal({"truncate-to", run_, "12", "--yes"});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.err, HasSubstr("is over and ends at round 12 already"));
  EXPECT_EQ(Journal({"truncate-to", run_, "-5", "--yes"}).code, ExitCode::kUsage);
  ASSERT_EQ(Journal({"truncate-to", run_, "10", "--yes"}).code, ExitCode::kOk);
  ASSERT_EQ(Journal({"truncate-to", run_, "9", "--yes"}).code, ExitCode::kOk);
  EXPECT_THAT(Journal({"show"}).out, HasSubstr("taken back to round 9"));
}

TEST_F(JournalCommand, AMissingCommitBeforeTheRoundIsDamage) {
  Damage("DELETE FROM commits WHERE round = 4");
  const Result result = Journal({"truncate-to", run_, "6", "--yes"});
  EXPECT_EQ(result.code, ExitCode::kDamaged);
  EXPECT_THAT(result.err, HasSubstr("has only 5 commits of rounds up to 6"));
}

TEST_F(JournalCommand, ADamagedResidualIsSaidToBeThatAndTheFileStaysInTheCopy) {
  FlipABit(SnapshotPath(6, ".aggregator"));
  const std::string damaged = *ReadFile(SnapshotPath(6, ".aggregator"), 64 << 20);
  const Result result = Journal({"truncate-to", run_, "6", "--yes", "--format", "json"});
  ASSERT_EQ(result.code, ExitCode::kOk) << result.err;
  const Json done = Json::parse(result.out);
  EXPECT_FALSE(done["residual_known"]);
  ASSERT_EQ(done["damaged"].size(), 1u);
  EXPECT_THAT(done["damaged"][0].get<std::string>(), HasSubstr(SnapshotPath(6, ".aggregator")));
  EXPECT_EQ(*ReadFile(absl::StrCat(done["backup"].get<std::string>(), "/snapshots/", run_, "-000000000006.aggregator"), 64 << 20), damaged);
  EXPECT_EQ(Journal({"verify"}).code, ExitCode::kOk);
  Finish();
}

// The write-ahead log is part of a journal that was not closed.
TEST_F(JournalCommand, LooksAtWhatAKilledCoordinatorLeft) {
  ASSERT_TRUE(federation_.Restart().ok());
  ASSERT_TRUE(federation_.journal().SetEvaluation(run_, 1, {3.0}).ok());
  const std::string left = federation_.folder() + "/left";
  std::filesystem::create_directories(left);
  for (const char* const name : {"journal.db", "journal.db-wal"}) {
    std::filesystem::copy_file(absl::StrCat(federation_.folder(), "/", name), absl::StrCat(left, "/", name));
  }
  std::filesystem::copy(federation_.folder() + "/snapshots", left + "/snapshots");
  ASSERT_GT(std::filesystem::file_size(left + "/journal.db-wal"), 0u);
  const std::string before = *ReadFile(left + "/journal.db", 64 << 20) + *ReadFile(left + "/journal.db-wal", 64 << 20);
  const Result result = RunCommand({"journal", "verify", left});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.out << result.err;
  EXPECT_THAT(result.out, HasSubstr(": 8 commits"));
  EXPECT_EQ(*ReadFile(left + "/journal.db", 64 << 20) + *ReadFile(left + "/journal.db-wal", 64 << 20), before);
  EXPECT_EQ(RunCommand({"journal", "verify", "/" + left}).code, ExitCode::kOk) << "a path with two slashes";
  federation_.Crash();
}

TEST_F(JournalCommand, ALostSnapshotFileIsMadeAgainWithTheResidualThatIsStillThere) {
  ASSERT_TRUE(std::filesystem::remove(SnapshotPath(6, ".snapshot")));
  const std::string residual = *ReadFile(SnapshotPath(6, ".aggregator"), 64 << 20);
  const Result result = Journal({"truncate-to", run_, "6", "--yes", "--format", "json"});
  ASSERT_EQ(result.code, ExitCode::kOk) << result.err;
  EXPECT_TRUE(Json::parse(result.out)["residual_known"]);
  EXPECT_EQ(*ReadFile(SnapshotPath(6, ".aggregator"), 64 << 20), residual);
  EXPECT_EQ(Journal({"verify"}).code, ExitCode::kOk);
  Finish();
}

TEST_F(JournalCommand, ARunThatIsOverIsNotQueuedBesideAnotherOfItsName) {
  Finish();
  for (int i = 0; i < federation_.size(); ++i) {
    federation_.site(i).Disconnect();
  }
  const std::string later = Submit(federation_, MakeSpec("toy", 12, 2));
  ASSERT_NE(later, run_);
  federation_.Crash();
  const Result result = Journal({"truncate-to", run_, "10", "--yes"});
  EXPECT_EQ(result.code, ExitCode::kUsage);
  EXPECT_THAT(result.err, HasSubstr(absl::StrCat("run ", later, " has the same name")));
}

TEST_F(JournalCommand, ARunThatWasOverIsQueuedAgain) {
  Finish();
  federation_.Crash();
  ASSERT_EQ(Journal({"truncate-to", "toy", "10", "--yes"}).code, ExitCode::kOk);
  EXPECT_THAT(Journal({"show"}).out, HasSubstr("taken back to round 10"));
  Finish();
}

// The same, with the commits up to the oldest kept snapshot, of round 3, pruned.
class JournalCommandOnAPrunedLog : public JournalCommand {
 protected:
  JournalCommandOnAPrunedLog() : JournalCommand(coordinator::kNewestFormat, v1::LogConfig::SINCE_SNAPSHOT) {}
};

TEST_F(JournalCommandOnAPrunedLog, VerifyAndShowSayWhatIsPruned) {
  const Result verified = Journal({"verify"});
  EXPECT_EQ(verified.code, ExitCode::kOk) << verified.out;
  EXPECT_THAT(verified.out, HasSubstr(absl::StrCat("run ", run_, ": 8 commits (1 to 3 pruned), 3 snapshots, state ")));
  EXPECT_EQ(Json::parse(Journal({"verify", "--format", "json"}).out)["runs"][0]["pruned"], 3);
  const Json shown = Json::parse(Journal({"show", run_, "--format", "json"}).out);
  EXPECT_EQ(shown["commits"].size(), 8u);
  EXPECT_EQ(shown["commits"][2]["record_bytes"], 0);
  EXPECT_THAT(Journal({"show", run_, "--round", "2"}).out, HasSubstr("pruned"));
}

TEST_F(JournalCommandOnAPrunedLog, VerifyFindsAPrunedCommitThatDoesNotLeadToTheSnapshot) {
  Damage("UPDATE snapshots SET state_hash = zeroblob(32) WHERE round = 3");
  EXPECT_EQ(Journal({"verify"}).code, ExitCode::kDamaged);
}

TEST_F(JournalCommandOnAPrunedLog, VerifyMissesARecordThatWasNotPruned) {
  Damage("UPDATE commits SET record = x'' WHERE round = 5");
  const Result result = Journal({"verify"});
  EXPECT_EQ(result.code, ExitCode::kDamaged);
  EXPECT_THAT(result.out, HasSubstr("the commit of round 5 fails its checksum"));
}

TEST_F(JournalCommandOnAPrunedLog, ARunIsTakenBackToAStateThatIsThereAndToNoOther) {
  const Result gone = Journal({"truncate-to", run_, "2", "--yes"});
  EXPECT_EQ(gone.code, ExitCode::kNotFound);
  EXPECT_THAT(gone.err, HasSubstr("at round 2: pruned; rounds up to 3 are gone by log.keep"));
  EXPECT_FALSE(std::filesystem::exists(absl::StrCat(federation_.folder(), "/before-truncate-", run_, "-2")));
  for (const char* const round : {"5", "3", "0"}) {
    ASSERT_EQ(Journal({"truncate-to", run_, round, "--yes"}).code, ExitCode::kOk) << round;
    EXPECT_EQ(Journal({"verify"}).code, ExitCode::kOk) << Journal({"verify"}).out;
  }
  Finish();
  federation_.Crash();
  EXPECT_EQ(Journal({"verify"}).code, ExitCode::kOk) << Journal({"verify"}).out;
}

// What a coordinator of the release before left, and this one went on with.
class JournalCommandInAnOldFormat : public JournalCommand {
 protected:
  JournalCommandInAnOldFormat() : JournalCommand(coordinator::kOldestFormat) {}
};

TEST_F(JournalCommandInAnOldFormat, VerifyAndTruncateLeaveItInItsFormat) {
  EXPECT_EQ(Journal({"verify"}).code, ExitCode::kOk) << Journal({"verify"}).out;
  EXPECT_EQ(Journal({"truncate-to", run_, "5", "--yes"}).code, ExitCode::kOk);
  Finish();
  federation_.Crash();
  EXPECT_EQ(Journal({"verify"}).code, ExitCode::kOk) << Journal({"verify"}).out;
  EXPECT_EQ(Json::parse(Journal({"upgrade", "--format", "json"}).out)["from"], coordinator::kOldestFormat);
}

TEST_F(JournalCommandInAnOldFormat, UpgradeLetsTheRunGoOnAndTheCopyToo) {
  const Json before = Json::parse(Journal({"show", run_, "--format", "json"}).out);
  const Result result = Journal({"upgrade", "--format", "json"});
  ASSERT_EQ(result.code, ExitCode::kOk) << result.err;
  const Json done = Json::parse(result.out);
  EXPECT_EQ(done["from"], coordinator::kOldestFormat);
  EXPECT_EQ(done["to"], coordinator::kNewestFormat);
  EXPECT_EQ(Journal({"verify"}).code, ExitCode::kOk) << Journal({"verify"}).out;
  EXPECT_EQ(Json::parse(Journal({"show", run_, "--format", "json"}).out), before);
  Finish();

  // The copy stays whole, whatever the run that goes on prunes; and a coordinator goes on from it.
  const std::string copy = done["backup"];
  EXPECT_EQ(copy, federation_.folder() + "/before-upgrade-to-format-6");
  EXPECT_EQ(RunCommand({"journal", "verify", copy}).code, ExitCode::kOk);
  EXPECT_EQ(Json::parse(RunCommand({"journal", "show", copy, run_, "--format", "json"}).out), before);
  federation_.Crash();
  federation_.config.set_data_dir(copy);
  Finish();
}

TEST_F(JournalCommandInAnOldFormat, UpgradeSaysWhereTheCopyIsAndWantsItMovedBeforeItMakesAnother) {
  EXPECT_THAT(Journal({"upgrade"}).out, HasSubstr("as it was: " + federation_.folder() + "/before-upgrade-to-format-6"));
  std::filesystem::copy_file(federation_.folder() + "/before-upgrade-to-format-6/journal.db", federation_.folder() + "/journal.db",
                             std::filesystem::copy_options::overwrite_existing);
  const std::map<std::string, std::string> files = Files();
  const Result again = Journal({"upgrade"});
  EXPECT_EQ(again.code, ExitCode::kUsage);
  EXPECT_THAT(again.err, HasSubstr("before-upgrade-to-format-6 exists already; move it away, then run this again"));
  EXPECT_EQ(Files(), files);
}

TEST_F(JournalCommand, UpgradeHasNothingToDoInTheNewestFormat) {
  const std::map<std::string, std::string> files = Files();
  const Result result = Journal({"upgrade"});
  EXPECT_EQ(result.code, ExitCode::kOk) << result.err;
  EXPECT_THAT(result.out, HasSubstr("the journal is already in format 6, the newest"));
  EXPECT_EQ(Files(), files);
}

}  // namespace
}  // namespace tributary::cli
