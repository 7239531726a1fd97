// A journal's copy, and its way back to an earlier round.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/journal_rows.h"
#include "coordinator/sqlite_journal.h"

namespace tributary::coordinator {

absl::Status SqliteJournal::BackUp(const std::string& path) {
  struct stat file = {};
  if (stat(path.c_str(), &file) == 0) {
    return absl::AlreadyExistsError(absl::StrCat(path, " is there already: it is the copy made before an earlier attempt; move it away"));
  }
  if (const absl::Status copied = Query(*database_, "VACUUM INTO ?").Text(path).Run(); !copied.ok()) {
    unlink(path.c_str());
    return copied;
  }
  const int copy = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (copy < 0) {
    return StorageError("open", path, errno);
  }
  const int failed = fsync(copy);
  const int error = errno;
  close(copy);
  return failed == 0 ? absl::OkStatus() : StorageError("write", path, error);
}

absl::Status SqliteJournal::Truncate(const std::string& run_id, uint64_t round) {
  TRIBUTARY_ASSIGN_OR_RETURN(const int64_t run, Number(run_id));
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t last, LastCommitOf(run));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledSnapshot> snapshots, Snapshots(run_id));
  if (round > last || snapshots.empty() || snapshots.front().round > round) {
    return absl::FailedPreconditionError(absl::StrCat("run ", run_id, " cannot go back to round ", round, ": its last commit is ", last,
                                                      ", its oldest snapshot ",
                                                      snapshots.empty() ? "none" : absl::StrCat("of round ", snapshots.front().round)));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledRun> runs, Runs());
  return Write([&]() -> absl::Status {
    TRIBUTARY_RETURN_IF_ERROR(Query(*database_, "DELETE FROM commits WHERE run = ? AND round > ?").Int(run).Unsigned(round).Run());
    TRIBUTARY_RETURN_IF_ERROR(Query(*database_, "DELETE FROM updates WHERE run = ? AND round > ?").Int(run).Unsigned(round).Run());
    TRIBUTARY_RETURN_IF_ERROR(Query(*database_, "DELETE FROM snapshots WHERE run = ? AND round > ?").Int(run).Unsigned(round).Run());
    TRIBUTARY_RETURN_IF_ERROR(
        Query(*database_, "DELETE FROM validation_losses WHERE run = ? AND round > ?").Int(run).Unsigned(round).Run());
    TRIBUTARY_RETURN_IF_ERROR(Query(*database_, "DELETE FROM open_rounds WHERE run = ?").Int(run).Run());
    for (const JournaledRun& journaled : runs) {
      // Of a run that was being stopped, the stop is taken back too.
      if (journaled.run_id != run_id || !(IsOverState(journaled.state) || journaled.state == v1::DRAINING)) {
        continue;
      }
      const std::string spec = journaled.spec.SerializeAsString();
      const std::string reason = absl::StrCat("taken back to round ", round);
      TRIBUTARY_RETURN_IF_ERROR(
          Query(*database_, "UPDATE runs SET spec = ?, state = ?, reason = ?, finished_unix_ms = 0, crc = ? WHERE number = ?")
              .Blob(spec)
              .Int(v1::SUBMITTED)
              .Text(reason)
              .Int(RunCrc(run, run_id, spec, v1::SUBMITTED, reason, journaled.submitted_unix_ms, 0))
              .Int(run)
              .Run());
    }
    return absl::OkStatus();
  });
}

}  // namespace tributary::coordinator
