// A whole copy of what a worker knows of a run: one file a run in its state folder, "<run id>.state". When copies are made, and what is
// kept between them: state_keeper.h.
//
// A copy is made after a round was trained, before anything of that round's update is sent. A worker that was killed after it, and before
// the next round, holds the newest update that the coordinator can have of it, and learns from SyncPlan.last_receipt what became of that;
// what Settle does then is not written down, for it follows from the file and the receipt again.
//
// Format: optim/sealed_state.h of kind "worker", whose body is: length of the run id (4) and run id, likewise the site; round (8); 1 if an
// update is pending, else 0 (1); if so, each with its length before it (8): base state hash, payload, SHA-256 of the payload, UpdateReport
// (Protocol Buffers); then, likewise, the encoder's state; the rest is the trainer's. Integers little-endian.
#ifndef TRIBUTARY_WORKER_SAVED_STATE_H_
#define TRIBUTARY_WORKER_SAVED_STATE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/file_store.h"
#include "optim/layout.h"
#include "worker/worker_engine.h"

namespace tributary::worker {

// Whose state it is.
struct StateOwner {
  std::string run_id;
  std::string site;
  const optim::Layout* layout = nullptr;
};

struct SavedState {
  // The newest that was trained.
  uint64_t round = 0;
  // Its update; absent if the round had none.
  std::optional<PendingUpdate> pending;
  // UpdateEncoder::SaveState, with what is pending, and Trainer::SaveState.
  std::string encoder;
  std::string trainer;
};

// Of the log of what was sent since (sent_log.h).
inline constexpr absl::string_view kSentSuffix = ".sent";

// Replaces what is saved of this run. Errors of FileStore::Write.
absl::Status WriteSavedState(const StateOwner& owner, const SavedState& state, FileStore& store);

// NotFound. DataLoss: damaged, of another site or model, or of a format that this program does not know. Others: errors of FileStore::Read.
absl::StatusOr<SavedState> ReadSavedState(const StateOwner& owner, const FileStore& store);

// Renames the file of this run to *.damaged, for people to look at. Returns where it is now. Errors of FileStore.
absl::StatusOr<std::string> SetSavedStateAside(const std::string& run_id, FileStore& store);

// Copy and log. OK if nothing is saved of this run.
absl::Status RemoveSavedState(const std::string& run_id, FileStore& store);

// Ids of the runs that something is saved of, the one written longest ago first.
absl::StatusOr<std::vector<std::string>> SavedRuns(const FileStore& store);

// Removes what has long been unused of runs other than `current_run`, which the coordinator has offered: it works on one run at a time and
// takes up the next when that one is over, so that nothing asks for them again. The wait is for what goes against this: a folder that
// serves two coordinators by turns, or a log that was taken back. Unused: last written more than 30 days before `now` (calendar time), and
// still so more than 30 days after a call first found that, which leaves the empty file "<run id>.unused". A clock that is wrong at one
// start costs nothing: the next call finds the file in use and takes the mark back. Of more than 16 runs, those written longest ago go at
// once: a coordinator that offers one run after the other does not fill the disk. Returns the ids of the runs.
absl::StatusOr<std::vector<std::string>> RemoveAbandonedStates(const std::string& current_run, absl::Time now, FileStore& store);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SAVED_STATE_H_
