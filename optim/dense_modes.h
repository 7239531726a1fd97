// The dense modes: allreduce, fedavg, diloco (fp32 values) and signsgd (signs). Every parameter of every block that is not frozen travels.
// Format: docs/reference/wire_format.md, "Dense payload" and "Sign payload".
//
// Sources: AdamW, Loshchilov and Hutter, arXiv 1711.05101; FedAvg, McMahan et al., arXiv 1602.05629; DiLoCo, Douillard et al.,
// arXiv 2311.08105; signSGD with majority vote, Bernstein et al., arXiv 1810.05291.
#ifndef TRIBUTARY_OPTIM_DENSE_MODES_H_
#define TRIBUTARY_OPTIM_DENSE_MODES_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "optim/aggregator.h"
#include "optim/commit.h"
#include "optim/encoder.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "optim/replica_state.h"

namespace tributary::optim {

// Largest magnitude of a value in a dense payload.
inline constexpr float kDenseValueBound = 1024.0f;
// Fraction bits of the aggregator's int64 sums at kMaxWeight. A value times its weight's share of 2^40 is rounded once, to nearest even;
// kMaxWorkers (2^12) values of at most 2^10 sum to at most 2^62 units.
inline constexpr int kDenseFractionBits = 40;

// The factories and the bound of encoder.h and aggregator.h, for the dense modes; `options` have been validated.
std::unique_ptr<UpdateEncoder> MakeDenseEncoder(const OptimizerOptions& options, const Layout& layout);
std::unique_ptr<Aggregator> MakeDenseAggregator(const OptimizerOptions& options, const Layout& layout);
uint64_t MaxDensePayloadBytes(const OptimizerOptions& options, const Layout& layout);

// The part of Apply (apply.h) that differs by mode. Apply has checked that the commit is the state's next, that state and slots have the
// layout's size and that something is included; it advances state.round itself after success.
//   allreduce: AdamWStep with step = commit.round and the commit's learning rate
//   fedavg:    theta -= outer_learning_rate * mean
//   diloco:    b = outer_momentum*b + mean;  theta -= outer_learning_rate * (mean + outer_momentum*b)
//   signsgd:   theta = theta*(1 - lr*wd) - lr*vote, with lr the commit's learning rate and vote in {-1, 0, +1}
// InvalidArgument: the payload is not canonical; theta and slots are unchanged.
absl::Status ApplyDense(const OptimizerOptions& options, const Layout& layout, const Commit& commit, ReplicaState& state, int threads);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_DENSE_MODES_H_
