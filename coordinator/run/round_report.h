// What is kept and counted of a round once it is closed: its record in the journal, and its metrics.
#ifndef TRIBUTARY_COORDINATOR_RUN_ROUND_REPORT_H_
#define TRIBUTARY_COORDINATOR_RUN_ROUND_REPORT_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "coordinator/metrics.h"
#include "coordinator/run/round_engine.h"
#include "coordinator/run/run_host.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

// Monotonic times of a round.
struct RoundTimes {
  absl::Time start;
  absl::Time last_accepted;  // InfinitePast: no update was
  absl::Time closing;        // its sum was closed
  absl::Time committed;      // its commit was made and applied; the journal's own write, which the record is part of, is not in it
};

// The record without its bytes (RunAccounts::CloseInterval fills those in). `host` still has the round open. `commit_bytes`: of the
// commit's record, sent to `recipients` sites.
v1::RoundRecord MakeRoundRecord(const RunHost& host, const CloseRound& close, const RoundTimes& times, uint64_t commit_bytes,
                                size_t recipients);

// Dense bytes over bytes moved, both directions.
double CompressionRatio(const v1::RoundRecord& record);

void CountRound(const std::string& run, const CloseRound& close, const v1::RoundRecord& record, CoordinatorMetrics& metrics);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_ROUND_REPORT_H_
