// What a site is told of the runs that it belongs to: nothing of other runs, and of other sites their names alone.
#ifndef TRIBUTARY_COORDINATOR_OWN_RUNS_H_
#define TRIBUTARY_COORDINATOR_OWN_RUNS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "tributary/v1/admin.pb.h"
#include "tributary/v1/member.pb.h"

namespace tributary::coordinator {

inline constexpr int kMaxOwnRuns = 100;

// `all`: newest first. `wanted`: as ListOwnRunsRequest.run.
v1::ListOwnRunsResponse OwnRuns(const v1::ListRunsResponse& all, const std::string& site, const std::string& wanted);

// FailedPrecondition, with the best round: it is another, and of that one alone a site may have the state made for it.
absl::Status CheckIsBest(const v1::RunStatus& status, uint64_t round);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_OWN_RUNS_H_
