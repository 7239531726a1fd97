// What a worker knows of one transfer over its attempts, and what follows from an attempt that failed.
#ifndef TRIBUTARY_WORKER_TRANSFER_ATTEMPTS_H_
#define TRIBUTARY_WORKER_TRANSFER_ATTEMPTS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace tributary::worker {

enum class AfterFailure {
  kRetry,          // the same transfer, after a wait
  kAskForPlan,     // the line or the coordinator is in trouble, or what was fetched is gone: a new plan names what is there
  kResynchronize,  // as that, but nothing outside explains it: a defect, if it goes on
  kGiveUp,         // not again on this session
};

// Not thread-safe.
struct TransferAttempts {
  // Of the attempt under way; 0: none.
  uint64_t id = 0;
  // Attempts since one moved it on; those of downloads count on over plans.
  int failures = 0;
  uint64_t arrived = 0;
  // Whether an attempt under this plan moved it on.
  bool moved = false;
  // Whether people were told that it broke off.
  bool broke_off = false;
  absl::Time retry_at = absl::InfinitePast();

  // `total`: what is known to have arrived, by this attempt and those before it. Forgets failures that it has made good.
  void NoteArrived(uint64_t total);

  // After NoteArrived. The failure itself is for the caller to count.
  AfterFailure AfterFailedDownload(const absl::Status& status);
  AfterFailure AfterFailedUpload(const absl::Status& status) const;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_TRANSFER_ATTEMPTS_H_
