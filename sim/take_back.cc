#include "sim/take_back.h"

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <system_error>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"

namespace tributary::sim {
namespace {

// In memory where there is such a place: the tool's syncs are real.
std::string NewFolder() {
  std::error_code error;
  const std::filesystem::path memory = "/dev/shm";
  std::string folder = (std::filesystem::is_directory(memory, error) ? memory : std::filesystem::temp_directory_path()) / "sim-XXXXXX";
  return mkdtemp(folder.data()) == nullptr ? "" : folder;
}

}  // namespace

absl::StatusOr<coordinator::Truncation> TakeBack(SimDisk& disk, const std::string& run_id, uint64_t round) {
  const std::string folder = NewFolder();
  if (folder.empty()) {
    return absl::InternalError("cannot make a temporary folder");
  }
  const absl::Cleanup remove = [&folder] {
    std::error_code error;
    std::filesystem::remove_all(folder, error);
  };
  TRIBUTARY_RETURN_IF_ERROR(disk.CopyTo(folder));
  uint64_t newest_snapshot = 0;
  {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<coordinator::Journal> journal, coordinator::InspectJournal(folder));
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<coordinator::JournaledSnapshot> snapshots, journal->Snapshots(run_id));
    for (const coordinator::JournaledSnapshot& snapshot : snapshots) {
      newest_snapshot = snapshot.round;
    }
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const coordinator::Truncation done, coordinator::TruncateJournal(folder, run_id, round));
  // Rounds after the newest snapshot keep their updates.
  if (round >= newest_snapshot && !done.residual_known) {
    return absl::DataLossError(absl::StrCat("the residual of round ", round, " is gone, with a snapshot of round ", newest_snapshot));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const coordinator::Verification verified,
                             coordinator::VerifyJournal(folder, [](const std::string&, uint64_t, uint64_t) { return absl::OkStatus(); }));
  if (!verified.problems.empty()) {
    return absl::DataLossError(absl::StrJoin(verified.problems, "; "));
  }
  // The operator puts the copy away; a second try to go back to the same round would find it.
  std::filesystem::remove_all(done.backup);
  TRIBUTARY_RETURN_IF_ERROR(disk.CopyFrom(folder));
  return done;
}

}  // namespace tributary::sim
