#include "coordinator/run/receipts.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/excerpt.h"
#include "common/log.h"

namespace tributary::coordinator {

void SendReceipt(RunEnvironment& environment, const std::string& site, const std::string& run_id, uint64_t round,
                 v1::Receipt::Result result, const std::string& reason) {
  v1::CoordinatorMessage message;
  v1::Receipt& receipt = *message.mutable_receipt();
  receipt.set_run_id(run_id);
  receipt.set_round(round);
  receipt.set_result(result);
  receipt.set_reason(reason);
  SendMessage(environment, site, std::move(message));
}

void SendRejection(RunEnvironment& environment, CoordinatorMetrics& metrics, const std::string& site, const std::string& run_id,
                   uint64_t round, RejectionReason kind, const std::string& reason) {
  LogWarning("coordinator", "update rejected: round ", round, ": ", reason, LogField("site", site));
  metrics.CountUpdate(site, UpdateResult::kRejected);
  metrics.CountRejection(kind);
  SendReceipt(environment, site, run_id, round, v1::Receipt::REJECTED, reason);
}

RejectionReason ReasonOf(const absl::Status& why) {
  if (absl::IsUnauthenticated(why)) {
    return RejectionReason::kSignature;
  }
  return absl::IsOutOfRange(why) ? RejectionReason::kNorm : RejectionReason::kInvalid;
}

absl::Status RefuseConflicting(Journal& journal, CoordinatorMetrics& metrics, const std::string& site, const std::string& run_id,
                               const IncomingUpdate& update, const UpdateVerdict& verdict, int64_t unix_ms) {
  LogError("coordinator", verdict.reason, LogField("run", run_id), LogField("site", site));
  metrics.CountUpdate(site, UpdateResult::kConflicting);
  metrics.CountRejection(RejectionReason::kDuplicate);
  JournaledEvent event;
  event.unix_ms = unix_ms;
  event.site = site;
  event.kind = "conflicting";
  event.round = update.round;
  event.detail = absl::StrCat("SHA-256 ", absl::BytesToHexString(update.digest), "; the update that was accepted, and counts, has ",
                              absl::BytesToHexString(verdict.accepted_digest));
  event.base_state_hash = update.base_state_hash;
  event.proof = update.proof;
  journal.NoteEvent(run_id, event);
  return absl::AlreadyExistsError(verdict.reason);
}

absl::Status RejectForeign(RunEnvironment& environment, CoordinatorMetrics& metrics, const std::string& site, const std::string& run_id,
                           uint64_t round) {
  const std::string reason = absl::StrCat("run ", Excerpt(run_id), " is not open");
  SendRejection(environment, metrics, site, run_id, round, RejectionReason::kRun, reason);
  return absl::FailedPreconditionError(reason);
}

}  // namespace tributary::coordinator
