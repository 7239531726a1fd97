// The sparse modes: what travels are the few largest components of each chunk. They share one update format, one plan of chunks, one
// exact inverse transform, and error feedback at both ends.
//
// Sources: `demo` and `distro`: DeMo, Peng, Quesnelle, Kingma, arXiv 2411.19870; `local`: SparseLoCo, arXiv 2508.15706.
//
// At the worker, with residual e, gradient (or pseudo-gradient) g and learning rate lr:
//   demo:   e = beta*e + lr*clip(g)   lr inside, as the reference program does
//   distro: e = beta*e + clip(g)      lr outside: a schedule must not reweight the past against the present
//   local:  e = beta*e + g            g is a pseudo-gradient; the local steps did the clipping
// Each round ages the residual by beta, whether or not the last update was included; only an included update is subtracted. The components
// of e with the largest magnitude (k of kChunkSize) are sent: `demo` as fp32, the others as levels of a step per segment. For rounds that
// skip (a gradient that is not finite) nothing ages.
//
// At the coordinator, with n updates added of at most N members:
//   demo:   per component the mean over the workers that sent it; the union of the supports; nothing is carried over
//   others: Z += sum_i s_i w_i q_i / N, then the commit takes the commit_k largest of Z (commit_k = 0: every place that an update of the
//           round touched) and is subtracted from Z; Z is the server-side residual and does not age. Replicas read the commit times
//           N / sum_i s_i: the mean over what was added. What absent members hold is not lost: it waits in their residuals.
// s_i is the update's weight as a share of kMaxWeight: 1 in uniform runs, where sum_i s_i = n.
// With normalize, w_i brings the update of a worker to unit norm: with Rule::kSign segment by segment (a sign forgets their relative scale
// anyway, and no site can gain weight in one block by being silent in the others), with Rule::kScaled as a whole.
//
// At every replica: theta = theta*(1 - lr*weight_decay) - step*v, v = commit or sign(commit) as the rule says, step = lr (`demo`,
// `distro`) or outer_learning_rate (`local`, whose weight decay happens in the local steps).
//
// Ranges, for N <= kMaxWorkers = 2^12:
//   Rule::kSign with normalize: Z in units of 2^-24 of an update's root mean square over the places it may keep, int32. One place of one
//   update
//     counts at most 2^6 times that, so a round adds at most 2^30, and the residual is held below 2^30.
//   The same, weighed by samples: Z in units of 2^-55, int64; a round adds at most 2^61, and the residual is held below 2^61.
//   otherwise: Z in units of 2^-52, int64. A value of magnitude 2^9 or more is refused, so a round adds at most 2^61; the residual is held
//   below 2^61. demo: sums in units of 2^-44, int64. A value of magnitude 2^7 or more is refused: 2^(7+44+12) = 2^63 is not reached.
#ifndef TRIBUTARY_OPTIM_SPARSE_MODES_H_
#define TRIBUTARY_OPTIM_SPARSE_MODES_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "optim/aggregator.h"
#include "optim/commit.h"
#include "optim/encoder.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "optim/replica_state.h"

namespace tributary::optim {

// The functions that the table of modes (modes.h) names in their rows. The encoder shares its work between `threads` >= 1 threads; its
// result does not depend on it.
std::unique_ptr<UpdateEncoder> MakeSparseEncoder(const OptimizerOptions& options, const Layout& layout, int threads = 1);
// `demo`: means over the senders, nothing carried over.
std::unique_ptr<Aggregator> MakeSenderMeanAggregator(const OptimizerOptions& options, const Layout& layout);
// `distro` and `local`: a sum with a server-side residual.
std::unique_ptr<Aggregator> MakeResidualAggregator(const OptimizerOptions& options, const Layout& layout);
PayloadBounds SparsePayloadBounds(const OptimizerOptions& options, const Layout& layout);
absl::Status ApplySparse(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                         ReplicaState& state, int threads);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_SPARSE_MODES_H_
