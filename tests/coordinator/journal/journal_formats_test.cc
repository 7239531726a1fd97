// Journals of every format that ever was, as they were written then (format_N.sql), and the way from one to the newest.
//
// Those files are frozen. A new format needs one of its own, which is written where there is none by
//   TRIBUTARY_ADD_JOURNAL_FORMAT=1 build/release/tests/coordinator_storage_test --gtest_filter=*TheNewestFormatHasItsFile
#include <sqlite3.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/merkle_tree.h"
#include "common/status_macros.h"
#include "coordinator/journal/journal_disk.h"
#include "coordinator/journal/journal_format.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/upgrade_journal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/coordinator/journal/journal_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr uint64_t kMaxFile = 1 << 20;

// So many records that there is a node to keep.
void FillAudit(AuditStore& audit) {
  MerkleFrontier frontier;
  for (uint64_t index = 0; index < 65; ++index) {
    const std::string record = absl::StrCat("record ", index);
    audit.NoteRecord(index, record);
    frontier.Append(MerkleLeaf(record), [&](int level, uint64_t node, const Digest& hash) {
      if (level >= kLeastAuditLevel) {
        audit.NoteNode(level, node, hash);
      }
    });
  }
  audit.NoteHead("a head");
}

// Something in every table; what the files of old hold.
void Fill(Journal& journal) {
  ASSERT_TRUE(journal.AddRun(MakeRun("first")).ok());
  AddCommits(journal, "first", 1, 3);
  ASSERT_TRUE(journal.AddSnapshot("first", {0, "first-0.snapshot", Sha256("zero"), "", {}}).ok());
  v1::RoundRecord record;
  record.set_round(3);
  record.set_bytes_up(4711);
  ASSERT_TRUE(journal.ReplaceAccounts("first", record, MakeCommit(3, {}, "").site_totals).ok());
  ASSERT_TRUE(journal.SetRunState("first", v1::FINISHED, "all rounds committed", 99).ok());
  ASSERT_TRUE(journal.AddRun(MakeRun("second")).ok());
  ASSERT_TRUE(journal.AddSnapshot("second", {0, "second-0.snapshot", Sha256("zero"), "", {}}).ok());
  for (uint64_t round = 1; round <= 4; ++round) {
    ASSERT_TRUE(journal.StartRound("second", {round, {"berlin", "paris"}}).ok());
    ASSERT_TRUE(journal.AddUpdate("second", round, MakeUpdate("paris", "update of paris")).ok());
    ASSERT_TRUE(journal.AddUpdate("second", round, MakeUpdate("berlin", std::string("\0\1\2'\n", 5))).ok());
    AddCommits(journal, "second", round, round);
  }
  ASSERT_TRUE(journal.AddSnapshot("second", {2, "second-2.snapshot", Sha256("two"), "second-2.aggregator", Sha256("residual")}).ok());
  if (journal.CanPrune()) {
    ASSERT_EQ(*journal.PruneCommits("second", 2), 2u);
  }
  ASSERT_TRUE(journal.SetEvaluation("second", 0, {5.5}).ok());
  ASSERT_TRUE(journal.SetEvaluation("second", 2, {2.25, {{"accuracy", 0.875}, {"auroc", 0.9375}}}).ok());
  journal.NoteEvent("second", {1700000000000, "paris", "late", 3, "round 3 is closed"});
  journal.NoteEvent("second", {1700000001000, "", "paused", 4, "maintenance", "an operator"});
  journal.NoteEvent("second", {1700000002000, "", "resumed", 4, "", "an operator"});
  journal.NoteEvidence("second", {1700000003000, "paris", 2, "reported", DigestBytes(Sha256("two")), "0.1.0"});
  if (journal.audit() != nullptr) {
    FillAudit(*journal.audit());
  }
  ASSERT_TRUE(journal.StartRound("second", {5, {"berlin", "paris"}}).ok());
  ASSERT_TRUE(journal.AddUpdate("second", 5, MakeUpdate("paris", "p")).ok());
  if (journal.KeepsSites()) {
    v1::SiteRecord site;
    site.set_name("paris");
    site.set_standing(v1::SiteRecord::SUSPENDED);
    site.set_actor("an operator");
    ASSERT_TRUE(journal.PutSite(site, {"an operator", "suspended", ""}).ok());
  }
}

class JournalFormatsTest : public SqliteJournalTest {
 protected:
  // The first column of all rows that `sql` gives.
  std::vector<std::string> Ask(const std::string& path, const std::string& sql) {
    const auto database = Database::Open(path, path, SQLITE_OPEN_READONLY);
    EXPECT_TRUE(database.ok()) << database.status();
    Query rows(**database, sql);
    std::vector<std::string> answers;
    while (*rows.Step()) {
      answers.emplace_back(rows.GetBytes(0));
    }
    return answers;
  }
  std::string FormatOf(const std::string& path) { return Ask(path, "PRAGMA user_version").at(0); }

  // Every definition and every row, byte for byte, as SQL that makes them again; without the table `except`.
  std::string Dump(const std::string& path, absl::string_view except = "") {
    std::string dump;
    for (const std::string& table : Ask(path, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY rowid")) {
      if (table == except) {
        continue;
      }
      std::vector<std::string> columns;
      for (const std::string& column : Ask(path, absl::StrCat("SELECT name FROM pragma_table_info('", table, "')"))) {
        columns.push_back(absl::StrCat("quote(", column, ")"));
      }
      const std::string rows = absl::StrCat("SELECT ", absl::StrJoin(columns, " || ', ' || "), " FROM ", table, " ORDER BY rowid");
      absl::StrAppend(&dump, Ask(path, absl::StrCat("SELECT sql FROM sqlite_schema WHERE name = '", table, "'")).at(0), ";\n");
      for (const std::string& row : Ask(path, rows)) {
        absl::StrAppend(&dump, "INSERT INTO ", table, " VALUES(", row, ");\n");
      }
    }
    return dump;
  }

  static std::string FileOf(int64_t format) { return absl::StrCat(TRIBUTARY_JOURNAL_FIXTURES, "/format_", format, ".sql"); }

  // The file of old, in the place of the journal.
  void Load(int64_t format) {
    const absl::StatusOr<std::string> sql = ReadFile(FileOf(format), kMaxFile);
    ASSERT_TRUE(sql.ok()) << sql.status();
    const auto database = Database::Open(path(), path(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    ASSERT_TRUE(database.ok()) << database.status();
    const absl::Status loaded = (*database)->Execute(*sql);
    ASSERT_TRUE(loaded.ok()) << loaded;
    ASSERT_EQ(FormatOf(path()), absl::StrCat(format));
  }

  // An empty journal of an older format, as its program made one.
  void Create(int64_t format) {
    const absl::Status created = CreateJournal(path(), format, JournalDisk::Real());
    ASSERT_TRUE(created.ok()) << created;
  }

  // Keeps the journal as it was beside the new one.
  absl::StatusOr<FormatChange> Upgrade(JournalDisk& disk = JournalDisk::Real()) {
    return UpgradeSqliteJournal(
        path(), Agree,
        [this](Journal& old, FormatChange) { return old.BackUp(kept(), [](uint64_t, uint64_t) { return absl::OkStatus(); }); }, disk);
  }
  static absl::Status Agree(FormatChange) { return absl::OkStatus(); }
  std::string kept() const { return folder_.File("kept.db"); }
};

TEST_F(JournalFormatsTest, TheNewestFormatHasItsFile) {
  if (std::getenv("TRIBUTARY_ADD_JOURNAL_FORMAT") != nullptr && !std::filesystem::exists(FileOf(kNewestFormat))) {
    Fill(*Open());
    const std::string sql =
        absl::StrCat("-- A journal of format ", kNewestFormat, ", as version ", TRIBUTARY_VERSION,
                     " wrote it. Frozen.\nPRAGMA application_id = 0x54524942;\nPRAGMA user_version = ", kNewestFormat, ";\n", Dump(path()));
    ASSERT_TRUE(WriteFileAtomically(FileOf(kNewestFormat), sql).ok());
  }
  EXPECT_TRUE(std::filesystem::exists(FileOf(kNewestFormat))) << "the top of this test says how to make it";
}

class EveryFormat : public JournalFormatsTest, public ::testing::WithParamInterface<int64_t> {};

TEST_P(EveryFormat, IsReadAsItWasWritten) {
  ASSERT_NO_FATAL_FAILURE(Load(GetParam()));
  const std::string read = *Describe(*Open());
  std::filesystem::remove(path());
  ASSERT_NO_FATAL_FAILURE(Create(GetParam()));
  const auto journal = Open();
  Fill(*journal);
  EXPECT_EQ(read, *Describe(*journal));
}

TEST_P(EveryFormat, IsWrittenAsItAlwaysWas) {
  ASSERT_NO_FATAL_FAILURE(Load(GetParam()));
  const std::string old = Dump(path());
  std::filesystem::remove(path());
  ASSERT_NO_FATAL_FAILURE(Create(GetParam()));
  Fill(*Open());
  EXPECT_EQ(Dump(path()), old);
}

TEST_P(EveryFormat, StaysWhatItIsWhenARunGoesOnInIt) {
  ASSERT_NO_FATAL_FAILURE(Load(GetParam()));
  std::string before;
  {
    const auto journal = Open();
    ASSERT_TRUE(journal->AddUpdate("second", 5, MakeUpdate("berlin", "b")).ok());
    AddCommits(*journal, "second", 5, 6);
    ASSERT_TRUE(journal->AddSnapshot("second", {6, "six.snapshot", Sha256("six"), "six.aggregator", Sha256("r")}).ok());
    ASSERT_TRUE(journal->AddRun(MakeRun("third")).ok());
    journal->NoteEvent("third", {1, "", "stopped", 0, "wrong data", "ada"});
    ASSERT_TRUE(journal->SetRunState("third", v1::STOPPED, "stopped by ada: wrong data", 7).ok());
    before = *Describe(*journal);
  }
  EXPECT_EQ(*Describe(*Open()), before);
  EXPECT_EQ(FormatOf(path()), absl::StrCat(GetParam()));
  const std::string inspected = *Describe(**InspectSqliteJournal(path()));
  EXPECT_EQ(inspected, before);
}

INSTANTIATE_TEST_SUITE_P(Formats, EveryFormat, ::testing::Range(kOldestFormat, kNewestFormat + 1),
                         [](const auto& info) { return absl::StrCat("Format", info.param); });

TEST_F(JournalFormatsTest, ANewJournalIsOfTheNewest) {
  ASSERT_NE(Open(), nullptr);
  EXPECT_EQ(FormatOf(path()), absl::StrCat(kNewestFormat));
}

TEST_F(JournalFormatsTest, Format2HasAnOperatorsNameInTheDetail) {
  ASSERT_NO_FATAL_FAILURE(Create(2));
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  journal->NoteEvent("run", {1, "", "paused", 4, "maintenance", "ada"});
  journal->NoteEvent("run", {2, "", "resumed", 4, "", "ada"});
  journal->NoteEvent("run", {3, "paris", "left", 4, "shutting down"});
  ASSERT_TRUE(journal->Flush().ok());
  const std::vector<JournaledEvent> events = *journal->Events("run");
  std::vector<std::string> details;
  for (const JournaledEvent& event : events) {
    EXPECT_EQ(event.actor, "");
    details.push_back(event.detail);
  }
  EXPECT_THAT(details, ElementsAre("by ada: maintenance", "by ada", "shutting down"));
}

TEST_F(JournalFormatsTest, FromFormat3AnOperatorsNameHasAColumn) {
  ASSERT_NO_FATAL_FAILURE(Create(3));
  const auto journal = Open();
  ASSERT_TRUE(journal->AddRun(MakeRun("run")).ok());
  journal->NoteEvent("run", {1, "", "paused", 4, "maintenance", "ada"});
  ASSERT_TRUE(journal->Flush().ok());
  const std::vector<JournaledEvent> events = *journal->Events("run");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].actor, "ada");
  EXPECT_EQ(events[0].detail, "maintenance");
}

TEST_F(JournalFormatsTest, AnUpgradeKeepsEveryRowAndTheOldJournal) {
  ASSERT_NO_FATAL_FAILURE(Load(2));
  const std::string described = *Describe(*Open());
  const std::string dump = Dump(path());
  const std::vector<std::string> details = Ask(path(), "SELECT detail FROM events ORDER BY number");
  const absl::StatusOr<FormatChange> change = Upgrade();
  ASSERT_TRUE(change.ok()) << change.status();
  EXPECT_EQ(change->from, 2);
  EXPECT_EQ(change->to, kNewestFormat);
  EXPECT_EQ(FormatOf(path()), absl::StrCat(kNewestFormat));
  EXPECT_EQ(*Describe(*Open()), described);
  EXPECT_THAT(Ask(path(), "SELECT DISTINCT file, file_bytes FROM updates"), SizeIs(1)) << "none";
  EXPECT_EQ(Ask(path(), "SELECT detail FROM events WHERE actor = '' ORDER BY number"), details);
  EXPECT_FALSE(std::filesystem::exists(path() + ".new"));
  EXPECT_EQ(FormatOf(kept()), "2");
  EXPECT_EQ(Dump(kept()), dump);
  const auto old = OpenSqliteJournal(kept(), nullptr);
  ASSERT_TRUE(old.ok()) << old.status();
  EXPECT_EQ(*Describe(**old), described);
}

TEST_F(JournalFormatsTest, AnUpgradeTakesWhatIsInTheWriteAheadLog) {
  // What a killed process leaves: the newest rows are in the log alone.
  const std::string left = folder_.File("left");
  std::filesystem::create_directory(left);
  std::string described;
  {
    ASSERT_NO_FATAL_FAILURE(Load(2));
    const auto journal = Open();
    AddCommits(*journal, "second", 5, 6);
    described = *Describe(*journal);
    for (const char* const suffix : {"", "-wal"}) {
      std::filesystem::copy_file(path() + suffix, absl::StrCat(left, "/journal.db", suffix));
    }
  }
  ASSERT_GT(std::filesystem::file_size(left + "/journal.db-wal"), 0u);
  const absl::StatusOr<FormatChange> change =
      UpgradeSqliteJournal(left + "/journal.db", Agree, [](Journal&, FormatChange) { return absl::OkStatus(); });
  ASSERT_TRUE(change.ok()) << change.status();
  EXPECT_FALSE(std::filesystem::exists(left + "/journal.db-wal"));
  EXPECT_EQ(*Describe(**OpenSqliteJournal(left + "/journal.db")), described);
}

TEST_F(JournalFormatsTest, ThereIsNothingToUpgradeInTheNewest) {
  Fill(*Open());
  const std::string bytes = *ReadFile(path(), kMaxFile);
  const absl::StatusOr<FormatChange> change = Upgrade();
  ASSERT_TRUE(change.ok()) << change.status();
  EXPECT_EQ(change->from, change->to);
  EXPECT_FALSE(std::filesystem::exists(kept()));
  EXPECT_EQ(*ReadFile(path(), kMaxFile), bytes);
}

TEST_F(JournalFormatsTest, ADamagedRowKeepsAJournalFromTheUpgrade) {
  ASSERT_NO_FATAL_FAILURE(Load(2));
  {
    const auto database = Database::Open(path(), path(), SQLITE_OPEN_READWRITE);
    ASSERT_TRUE((*database)->Execute("UPDATE updates SET payload = x'00' WHERE round = 4").ok());
  }
  const std::string bytes = *ReadFile(path(), kMaxFile);
  const absl::Status upgraded = Upgrade().status();
  EXPECT_EQ(ExitCodeOf(upgraded), ExitCode::kDamaged);
  EXPECT_THAT(std::string(upgraded.message()), HasSubstr("round 4: the update of a site fails its checksum"));
  EXPECT_EQ(*ReadFile(path(), kMaxFile), bytes);
  EXPECT_FALSE(std::filesystem::exists(path() + ".new"));
}

TEST_F(JournalFormatsTest, AnUpgradeWithoutACopyDoesNotHappen) {
  ASSERT_NO_FATAL_FAILURE(Load(2));
  const std::string dump = Dump(path());
  const absl::Status upgraded =
      UpgradeSqliteJournal(path(), Agree, [](Journal&, FormatChange) { return absl::ResourceExhaustedError("no space"); }).status();
  EXPECT_EQ(upgraded.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(FormatOf(path()), "2");
  EXPECT_EQ(Dump(path()), dump);
  EXPECT_FALSE(std::filesystem::exists(path() + ".new"));
  ASSERT_TRUE(Upgrade().ok());
}

// Renames nothing.
class StubbornDisk final : public JournalDisk {
 public:
  const char* vfs() const override { return Real().vfs(); }
  absl::StatusOr<std::shared_ptr<const void>> Lock(const std::string& journal_path) override { return Real().Lock(journal_path); }
  absl::StatusOr<std::optional<int64_t>> Size(const std::string& path) override { return Real().Size(path); }
  absl::Status Remove(const std::string& path) override { return Real().Remove(path); }
  absl::Status Rename(const std::string& from, const std::string& to) override { return StorageError("create", to, EIO); }
};

TEST_F(JournalFormatsTest, AnUpgradeThatCannotTakeItsPlaceLeavesTheOldOneAndCanBeTriedAgain) {
  ASSERT_NO_FATAL_FAILURE(Load(2));
  const std::string described = *Describe(*Open());
  StubbornDisk disk;
  EXPECT_EQ(ExitCodeOf(Upgrade(disk).status()), ExitCode::kStorage);
  EXPECT_EQ(FormatOf(path()), "2");
  EXPECT_EQ(*Describe(*Open()), described);
  std::filesystem::remove(kept());
  ASSERT_TRUE(Upgrade().ok());
  EXPECT_EQ(*Describe(*Open()), described);
}

TEST_F(JournalFormatsTest, AnUpgradeThatMayNotBeginTouchesNothing) {
  ASSERT_NO_FATAL_FAILURE(Load(2));
  const std::string bytes = *ReadFile(path(), kMaxFile);
  const auto refuse = [](FormatChange) { return absl::AlreadyExistsError("a copy"); };
  const auto keep = [](Journal&, FormatChange) { return absl::InternalError("no copy is due"); };
  EXPECT_EQ(UpgradeSqliteJournal(path(), refuse, keep).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*ReadFile(path(), kMaxFile), bytes);
}

// Its write-ahead log, which is empty, and the index would be taken for those of the new file.
TEST_F(JournalFormatsTest, AnUpgradeDoesNotHappenBesideAnIdleConnection) {
  ASSERT_NO_FATAL_FAILURE(Create(2));
  Fill(*Open());
  const std::string described = *Describe(*Open());
  {
    const auto idle = Database::Open(path(), path(), SQLITE_OPEN_READWRITE);
    ASSERT_TRUE(idle.ok()) << idle.status();
    ASSERT_TRUE((*idle)->Execute("SELECT COUNT(*) FROM runs").ok());
    const absl::Status upgraded = Upgrade().status();
    EXPECT_EQ(upgraded.code(), absl::StatusCode::kFailedPrecondition) << upgraded;
    EXPECT_EQ(ExitCodeOf(upgraded), ExitCode::kStorage);
    EXPECT_THAT(std::string(upgraded.message()), HasSubstr("in use by another program"));
    EXPECT_FALSE(std::filesystem::exists(kept()));
    EXPECT_FALSE(std::filesystem::exists(path() + ".new"));
  }
  EXPECT_EQ(FormatOf(path()), "2");
  ASSERT_TRUE(Upgrade().ok());
  EXPECT_EQ(*Describe(*Open()), described);
}

TEST_F(JournalFormatsTest, AConnectionOpenedDuringTheCopyKeepsTheOldJournal) {
  ASSERT_NO_FATAL_FAILURE(Create(2));
  Fill(*Open());
  std::unique_ptr<Database> late;
  const auto keep = [&](Journal&, FormatChange) -> absl::Status {
    TRIBUTARY_ASSIGN_OR_RETURN(late, Database::Open(path(), path(), SQLITE_OPEN_READWRITE));
    return late->Execute("SELECT COUNT(*) FROM runs");
  };
  EXPECT_EQ(UpgradeSqliteJournal(path(), Agree, keep).status().code(), absl::StatusCode::kFailedPrecondition);
  late.reset();
  EXPECT_EQ(FormatOf(path()), "2");
}

TEST_F(JournalFormatsTest, AnUpgradeNeedsTheFolderToItselfAndAJournalInIt) {
  EXPECT_EQ(Upgrade().status().code(), absl::StatusCode::kNotFound);
  const auto journal = Open();
  EXPECT_EQ(Upgrade().status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace tributary::coordinator
