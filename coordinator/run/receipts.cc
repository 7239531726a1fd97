#include "coordinator/run/receipts.h"

#include <utility>

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

absl::Status RejectForeign(RunEnvironment& environment, CoordinatorMetrics& metrics, const std::string& site, const std::string& run_id,
                           uint64_t round) {
  const std::string reason = absl::StrCat("run ", Excerpt(run_id), " is not open");
  SendRejection(environment, metrics, site, run_id, round, RejectionReason::kRun, reason);
  return absl::FailedPreconditionError(reason);
}

}  // namespace tributary::coordinator
