// For the tests of the SQLite journal: a folder for one, and things to put into it.
#ifndef TRIBUTARY_TESTS_COORDINATOR_JOURNAL_JOURNAL_SUPPORT_H_
#define TRIBUTARY_TESTS_COORDINATOR_JOURNAL_JOURNAL_SUPPORT_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/checksum.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/open_journal.h"
#include "gtest/gtest.h"
#include "tests/common/test_folder.h"

namespace tributary::coordinator {

class SqliteJournalTest : public ::testing::Test {
 protected:
  std::string path() const { return folder_.File("journal.db"); }

  std::unique_ptr<Journal> Open() {
    absl::StatusOr<std::unique_ptr<Journal>> journal = OpenSqliteJournal(path());
    EXPECT_TRUE(journal.ok()) << journal.status();
    return journal.ok() ? *std::move(journal) : nullptr;
  }

  const TestFolder folder_;
};

JournaledRun MakeRun(const std::string& id);
JournaledUpdate MakeUpdate(const std::string& site, const std::string& payload);
// A commit that continues the log after `previous`.
JournaledCommit MakeCommit(uint64_t round, const Digest& previous, const std::string& payload);
// Commits of rounds first..last.
void AddCommits(Journal& journal, const std::string& run, uint64_t first, uint64_t last, const std::string& payload = "payload");

// What a journal says, as text: two journals that say the same have the same.
absl::StatusOr<std::string> Describe(Journal& journal);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_TESTS_COORDINATOR_JOURNAL_JOURNAL_SUPPORT_H_
