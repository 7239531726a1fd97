// `optimizer.budget`: at most so many payload bytes per worker and local step, in each direction.
//
// The promise is about every payload, not the average one: k and local_steps are chosen by MaxPayloadBytes (encoder.h). With random
// supports the larger payload of the two, the commit, takes 75 to 90 % of the budget (the fewer components, the more of it).
#ifndef TRIBUTARY_OPTIM_BUDGET_H_
#define TRIBUTARY_OPTIM_BUDGET_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "optim/layout.h"
#include "optim/options.h"

namespace tributary::optim {

// `local`: fewer components than this are not worth a round. At equal bytes, two local steps with more components learned best, and sparse
// and frequent better than dense and rare, down to about 64 of 4096; below, rounds made rarer did better than updates made sparser.
inline constexpr uint32_t kLocalLeastK = 64;
// `local`: most steps that a budget chooses: what a site consents to unless it says otherwise.
inline constexpr uint32_t kLocalMostSteps = 100;

// `options` with k, commit_k and local_steps such that no update and no commit is longer than local_steps * `bytes`.
//   distro          the largest k; the commit keeps as many
//   local           the fewest local steps, from 2 on, that leave kLocalLeastK components; then the largest k. If kLocalMostSteps do not
//                   leave that many: those, and the k that they leave
//   fedavg, diloco  the fewest local steps
//   others          nothing to choose: as they are, if that is within the budget
// Everything else in `options` stays, and bounds the choice: value_bits, domain. InvalidArgument: the mode cannot meet the budget; names
// the least that it can.
absl::StatusOr<OptimizerOptions> FitBudget(OptimizerOptions options, const Layout& layout, uint64_t bytes);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_BUDGET_H_
