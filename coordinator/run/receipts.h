// What a site is told of its update.
#ifndef TRIBUTARY_COORDINATOR_RUN_RECEIPTS_H_
#define TRIBUTARY_COORDINATOR_RUN_RECEIPTS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "coordinator/journal/journal.h"
#include "coordinator/metrics.h"
#include "coordinator/run/incoming_update.h"
#include "coordinator/run/round_engine.h"
#include "coordinator/run/run_environment.h"
#include "tributary/v1/session.pb.h"

namespace tributary::coordinator {

void SendReceipt(RunEnvironment& environment, const std::string& site, const std::string& run_id, uint64_t round,
                 v1::Receipt::Result result, const std::string& reason);

// Logs, counts and answers an update that is not what it should be.
void SendRejection(RunEnvironment& environment, CoordinatorMetrics& metrics, const std::string& site, const std::string& run_id,
                   uint64_t round, RejectionReason kind, const std::string& reason);

// Which check an update failed that is refused for what it holds.
RejectionReason ReasonOf(const absl::Status& why);

// Logs, counts and notes an update besides the one of its site that was accepted for the round (`verdict`, kConflict): somebody has the
// site's key, or its worker is not what it should be. AlreadyExists, always. No receipt, for the one of the accepted update counts.
absl::Status RefuseConflicting(Journal& journal, CoordinatorMetrics& metrics, const std::string& site, const std::string& run_id,
                               const IncomingUpdate& update, const UpdateVerdict& verdict, int64_t unix_ms);

// The answer to an update of a run that is not in progress. FailedPrecondition, always.
absl::Status RejectForeign(RunEnvironment& environment, CoordinatorMetrics& metrics, const std::string& site, const std::string& run_id,
                           uint64_t round);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_RECEIPTS_H_
