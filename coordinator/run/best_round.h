// What a run's evaluations say of it: which round's model is the best so far, and whether the run may end before its last round.
//
// Pure, of what the journal holds: a coordinator that starts again decides the same.
#ifndef TRIBUTARY_COORDINATOR_RUN_BEST_ROUND_H_
#define TRIBUTARY_COORDINATOR_RUN_BEST_ROUND_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "coordinator/journal/journal.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

// A state, and what it is worth by the run's measure (JudgedBy).
struct JudgedRound {
  uint64_t round = 0;
  double value = 0;
};

// The first of the best. Nothing: no evaluation has that measure.
std::optional<JudgedRound> BestRound(const v1::RunSpec& spec, const JournaledEvaluations& evaluations);

// Of a run with stop_when whose first evaluation, the only one so far, lacks what it is judged by: that it will not end by it, for people.
// Empty: nothing of that kind.
std::string WhyNotJudged(const v1::RunSpec& spec, const JournaledEvaluations& evaluations);

// Why the run needs no round after `committed` (spec.stop_when); nothing: it does. What was evaluated in `committed` itself is not looked
// at: whether that is known depends on when the coordinator was last started. Once said, it stays so while evaluations are added.
std::optional<std::string> EarlyEnd(const v1::RunSpec& spec, const JournaledEvaluations& evaluations, uint64_t committed);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_BEST_ROUND_H_
