#include "worker/transfer_attempts.h"

#include <utility>

namespace tributary::worker {
namespace {

// A transfer of which nothing arrives is tried again on the same session this often; a broken session ends them all anyway. Then an upload
// is given up, and for a download a new plan is asked for.
constexpr int kMaxFailures = 20;

// What lines do, for as long as they please; and what stands on them: a proxy that refuses for a moment, where the session beside it was
// let in with the same certificate. Who is shut out for good loses the session too.
bool IsWeather(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return true;
    default:
      return false;
  }
}

// What a line or a coordinator in trouble may say for a while; one that does so for good has a defect.
bool IsTrouble(const absl::Status& status) {
  return absl::IsInternal(status) || absl::IsUnknown(status);
}

// Errors after which another attempt at the same transfer makes sense.
bool IsTransient(const absl::Status& status) {
  return IsWeather(status) || IsTrouble(status) || absl::IsDataLoss(status) || absl::IsOutOfRange(status);
}

}  // namespace

void TransferAttempts::NoteArrived(uint64_t total) {
  if (total <= arrived) {
    return;
  }
  arrived = total;
  moved = true;
  failures = 0;
}

AfterFailure TransferAttempts::AfterFailedDownload(const absl::Status& status) {
  // The coordinator may refuse a download because those of broken connections have not ended there yet.
  const bool trouble = IsTrouble(status) || absl::IsResourceExhausted(status);
  if ((trouble || IsTransient(status)) && (failures + 1) % kMaxFailures != 0) {
    return AfterFailure::kRetry;
  }
  const bool moved_on = std::exchange(moved, false);
  // What a slow line was fetching may have been pruned meanwhile. A new plan names what is there, and no line is bad enough to give up:
  // only what nobody can fetch is a defect.
  const bool pruned = absl::IsNotFound(status) && std::exchange(arrived, 0) > 0;
  return pruned || IsWeather(status) || (trouble && moved_on) ? AfterFailure::kAskForPlan : AfterFailure::kResynchronize;
}

AfterFailure TransferAttempts::AfterFailedUpload(const absl::Status& status) const {
  return IsTransient(status) && failures < kMaxFailures ? AfterFailure::kRetry : AfterFailure::kGiveUp;
}

}  // namespace tributary::worker
