// What a worker writes to its state folder, and when, so that it may be killed at any moment.
//
// With `persist: every_round` a whole copy of the state (saved_state.h) is written before each update is sent: a restarted worker goes on
// with the same bits. Otherwise copies are made as often as their cost allows (copy_budget.h), and what is sent in between is logged
// (sent_log.h). A worker that is killed between two copies goes on
//
//  - with an empty residual, for parts of the one in the copy may be in the model: they must not be sent again;
//  - with the inner optimiser as it was copied;
//  - with the newest update, if the log holds its payload. If that was too long, the round is trained again, and only what comes to the
//    same bytes is sent: the coordinator may hold the first, and a receipt does not say which of two updates it is for.
#ifndef TRIBUTARY_WORKER_STATE_KEEPER_H_
#define TRIBUTARY_WORKER_STATE_KEEPER_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/file_store.h"
#include "tributary/v1/config.pb.h"
#include "worker/copy_budget.h"
#include "worker/saved_state.h"
#include "worker/sent_log.h"

namespace tributary::worker {

// Not thread-safe. Errors that have no word of their own are those of FileStore.
class StateKeeper {
 public:
  struct Kept {
    // NotFound: none. DataLoss: as ReadSavedState.
    absl::StatusOr<SavedState> copy;
    SentSince sent;
  };

  // `owner`'s layout, `store` and `clock` outlive the keeper. `max_logged_payload`: as for the log.
  StateKeeper(const StateOwner& owner, v1::Persist persist, FileStore* store, const Clock* clock, uint64_t max_logged_payload);

  // What was kept before this process. Before anything else.
  absl::StatusOr<Kept> Open();

  // `round` was trained, and its update (if it has one) may be sent once this returns OK. `whole`: the state, with that update pending.
  absl::Status Keep(uint64_t round, const std::optional<PendingUpdate>& update, const std::function<SavedState()>& whole);

  // Whether this process knows more than the newest copy.
  bool behind() const { return behind_; }
  // Makes a copy now.
  absl::Status KeepWhole(const std::function<SavedState()>& whole);

 private:
  const StateOwner owner_;
  const v1::Persist persist_;
  FileStore* const store_;
  const Clock* const clock_;
  SentLog log_;
  CopyBudget budget_;
  bool behind_ = false;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_STATE_KEEPER_H_
