#include "sim/take_back.h"

#include <filesystem>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "common/temporary_directory.h"

namespace tributary::sim {

absl::StatusOr<coordinator::Truncation> TakeBack(SimDisk& disk, const std::string& run_id, uint64_t round) {
  // In memory: the tool's syncs are real.
  TRIBUTARY_ASSIGN_OR_RETURN(const TemporaryDirectory directory, TemporaryDirectory::Create(TemporaryDirectory::Medium::kMemory));
  const std::string& folder = directory.path();
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
