// What the journal does with damage and with a full disk.
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "coordinator/journal/column_codec.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/journal_format.h"
#include "coordinator/journal/open_journal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/journal/journal_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

std::string ReadWhole(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

void WriteWhole(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.good());
}

class DamagedJournalTest : public SqliteJournalTest {
 protected:
  // A journal of one run that is not over, as a clean stop leaves it (one file).
  std::string MakeSoundFile() {
    {
      const auto journal = Open();
      EXPECT_TRUE(journal->AddRun(MakeRun("run")).ok());
      AddCommits(*journal, "run", 1, 12, std::string(3000, 'z'));
      EXPECT_TRUE(journal->StartRound("run", {13, {"berlin", "paris"}}).ok());
      EXPECT_TRUE(journal->AddUpdate("run", 13, MakeUpdate("paris", std::string(5000, 'p'))).ok());
      EXPECT_TRUE(journal->AddSnapshot("run", {10, "ten.snapshot", {}, "ten.aggregator", Sha256("r")}).ok());
      for (int i = 0; i < 40; ++i) {
        journal->NoteEvent("run", {i, "paris", "rejected", 12, std::string(100, 'e')});
      }
      journal->NoteEvidence("run", {1, "paris", 12, "reported", "log", "0.1.0"});
      EXPECT_TRUE(journal->SetEvaluation("run", 0, {5.5}).ok());
      description_ = *Describe(*journal);
    }
    EXPECT_FALSE(std::filesystem::exists(path() + "-wal"));
    return ReadWhole(path());
  }

  void ExpectRefusedAsDamaged(const std::string& bytes, const std::string& message = "") {
    WriteWhole(path(), bytes);
    const absl::StatusOr<std::unique_ptr<Journal>> journal = OpenSqliteJournal(path());
    ASSERT_EQ(journal.status().code(), absl::StatusCode::kDataLoss) << journal.status();
    EXPECT_EQ(ExitCodeOf(journal.status()), ExitCode::kDamaged);
    EXPECT_THAT(std::string(journal.status().message()), HasSubstr(path()));
    EXPECT_THAT(std::string(journal.status().message()), HasSubstr(message));
    EXPECT_EQ(ReadWhole(path()), bytes) << "the damaged file was changed";
  }

  std::string description_;
};

TEST_F(DamagedJournalTest, RefusesATruncatedFileAndLeavesItAlone) {
  const std::string sound = MakeSoundFile();
  for (size_t size = 0; size < sound.size(); size += 1 + sound.size() / 37) {
    SCOPED_TRACE(absl::StrCat(size, " of ", sound.size(), " bytes"));
    ExpectRefusedAsDamaged(sound.substr(0, size), "Restore");
  }
}

TEST_F(DamagedJournalTest, RefusesAFileThatIsNoJournal) {
  std::string other = MakeSoundFile();
  ExpectRefusedAsDamaged("this is a letter to my mother\n");
  // SQLite's header holds the application id at offset 68.
  other[68] = 'X';
  ExpectRefusedAsDamaged(other, "not a journal of Tributary");
}

TEST_F(DamagedJournalTest, RefusesANewerFormatAndSaysToUpgrade) {
  std::string newer = MakeSoundFile();
  // SQLite's header holds user_version, big-endian, at offset 60.
  ASSERT_EQ(newer[63], kNewestFormat);
  newer[63] = kNewestFormat + 1;
  ExpectRefusedAsDamaged(newer, "newer version of Tributary");
  newer[63] = 1;
  ExpectRefusedAsDamaged(newer, "which an unreleased version of Tributary wrote");
}

TEST_F(DamagedJournalTest, RefusesAWriteAheadLogWithoutItsJournal) {
  WriteWhole(path() + "-wal", "x");
  EXPECT_EQ(OpenSqliteJournal(path()).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(DamagedJournalTest, DistinguishesARowThatCannotBeReadFromOneThatFailsItsChecksum) {
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  ASSERT_TRUE(journal->SetRunState("run", static_cast<v1::RunState>(99), "", 0).ok());
  const absl::Status read = journal->Runs().status();
  EXPECT_EQ(ExitCodeOf(read), ExitCode::kDamaged);
  EXPECT_THAT(std::string(read.message()), HasSubstr("the record of run number 1 cannot be read"));
}

TEST(ColumnCodec, RefusesBytesThatNoListHas) {
  std::vector<std::string> sites;
  std::vector<absl::Duration> durations;
  for (const absl::string_view bytes : {"paris", "\n", "paris\n\n", "\nparis\n", "berlin\nparis"}) {
    EXPECT_FALSE(Decode(Value(bytes), sites)) << bytes;
  }
  EXPECT_FALSE(Decode(Value(absl::string_view("123456789")), durations));
}

TEST(ColumnCodec, ReadsWhatItWroteOfAList) {
  std::vector<std::string> sites = {"left over"};
  std::vector<absl::Duration> durations = {absl::Seconds(7)};
  for (const std::vector<std::string>& written : {std::vector<std::string>{"berlin", "paris"}, std::vector<std::string>{}}) {
    EXPECT_TRUE(Decode(Encode(written), sites));
    EXPECT_EQ(sites, written);
  }
  for (const std::vector<absl::Duration>& written : {std::vector<absl::Duration>{absl::Seconds(2)}, std::vector<absl::Duration>{}}) {
    EXPECT_TRUE(Decode(Encode(written), durations));
    EXPECT_EQ(durations, written);
  }
}

TEST_F(DamagedJournalTest, RefusesARowOfARunThatIsNotThere) {
  const std::string sound = MakeSoundFile();
  for (const char* const table : {"open_rounds", "site_totals", "arrivals", "events", "evidence", "updates", "snapshots"}) {
    SCOPED_TRACE(table);
    WriteWhole(path(), sound);
    sqlite3* database = nullptr;
    ASSERT_EQ(sqlite3_open(path().c_str(), &database), SQLITE_OK);
    for (const std::string& sql : {absl::StrCat("UPDATE ", table, " SET run = 3"), std::string("PRAGMA journal_mode = DELETE")}) {
      EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(database);
    }
    sqlite3_close(database);
    ExpectRefusedAsDamaged(ReadWhole(path()), absl::StrCat("a row of ", table, " is of a run that is not there"));
  }
}

TEST_F(DamagedJournalTest, NeverSaysAnythingElseAfterAFlippedBit) {
  const std::string sound = MakeSoundFile();
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  int flips = 0;
  int refused = 0;
  for (size_t place = 0; place < sound.size(); ++place) {
    if (place > 0 && place + 1 < sound.size() && sound[place - 1] == sound[place] && sound[place] == sound[place + 1]) {
      continue;  // within empty space or a payload
    }
    const uint32_t bit = random() % 8;
    std::string bytes = sound;
    bytes[place] = static_cast<char>(bytes[place] ^ (1 << bit));
    SCOPED_TRACE(absl::StrCat("byte ", place, ", bit ", bit));
    ASSERT_NO_FATAL_FAILURE(WriteWhole(path(), bytes));
    const absl::StatusOr<std::unique_ptr<Journal>> journal = OpenSqliteJournal(path());
    const absl::StatusOr<std::string> described = journal.ok() ? Describe(**journal) : journal.status();
    ++flips;
    if (described.ok()) {
      // A bit that nothing refers to (free space in a page).
      ASSERT_TRUE(*described == description_) << "the journal says something else";
    } else {
      ASSERT_EQ(described.status().code(), absl::StatusCode::kDataLoss) << described.status();
      if (!journal.ok()) {
        ASSERT_TRUE(ReadWhole(path()) == bytes) << "the damaged file was changed";
      }
      ++refused;
    }
  }
  EXPECT_GT(refused, flips / 2);
}

class FullDiskTest : public SqliteJournalTest {
 protected:
  // While it lives no file may grow beyond `bytes`: what a full disk does to a writer, without filling one.
  class SizeLimit {
   public:
    explicit SizeLimit(rlim_t bytes) {
      previous_handler_ = signal(SIGXFSZ, SIG_IGN);
      getrlimit(RLIMIT_FSIZE, &previous_);
      rlimit limit = previous_;
      limit.rlim_cur = bytes;
      setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~SizeLimit() {
      setrlimit(RLIMIT_FSIZE, &previous_);
      signal(SIGXFSZ, previous_handler_);
    }

   private:
    rlimit previous_ = {};
    void (*previous_handler_)(int) = nullptr;
  };
};

TEST_F(FullDiskTest, SaysSoAndKeepsNothingOfTheWriteThatFailed) {
  std::string before;
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
    AddCommits(*journal, "run", 1, 3);
    ASSERT_TRUE(journal->StartRound("run", {4, {"paris"}}).ok());
    before = *Describe(*journal);
    const JournaledCommit large = MakeCommit(4, journal->Commit("run", 3)->chain_hash, std::string(4 << 20, 'x'));
    {
      const SizeLimit limit(1 << 20);
      const absl::Status commit = journal->AddCommit("run", 4, large);
      EXPECT_EQ(commit.code(), absl::StatusCode::kResourceExhausted) << commit;
      EXPECT_EQ(ExitCodeOf(commit), ExitCode::kStorage);
      EXPECT_THAT(std::string(commit.message()), HasSubstr(path()));
      EXPECT_FALSE(journal->AddUpdate("run", 4, MakeUpdate("paris", std::string(4 << 20, 'y'))).ok());
      EXPECT_EQ(*Describe(*journal), before);
    }
    // With space again, the same write goes through.
    EXPECT_TRUE(journal->AddUpdate("run", 4, MakeUpdate("paris", "y")).ok());
    before = *Describe(*journal);
  }
  EXPECT_EQ(*Describe(*Open()), before);
}

TEST_F(FullDiskTest, CannotMakeAJournalAndLeavesNoneBehind) {
  {
    const SizeLimit limit(2048);
    const absl::StatusOr<std::unique_ptr<Journal>> journal = OpenSqliteJournal(path());
    EXPECT_EQ(journal.status().code(), absl::StatusCode::kResourceExhausted) << journal.status();
  }
  EXPECT_FALSE(std::filesystem::exists(path()));
  EXPECT_NE(Open(), nullptr);
}

TEST_F(DamagedJournalTest, WithoutDescriptorsAnOpenOneWritesOnAndAClosedOneIsNotDamaged) {
  auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {0, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  AddCommits(*journal, "run", 1, 12, std::string(3000, 'z'));
  const absl::Status status = OpenSqliteJournal(path() + ".other").status();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
}

}  // namespace
}  // namespace tributary::coordinator
