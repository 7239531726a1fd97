// The dense modes: every parameter of every block that is not frozen travels, as fp32 values (allreduce, fedavg, diloco; dense_payload.h)
// or as signs (signsgd; sign_payload.h). The functions that the table of modes (modes.h) names in their rows.
//
// Sources: AdamW, Loshchilov and Hutter, arXiv 1711.05101; FedAvg, McMahan et al., arXiv 1602.05629; DiLoCo, Douillard et al.,
// arXiv 2311.08105; signSGD with majority vote, Bernstein et al., arXiv 1810.05291.
#ifndef TRIBUTARY_OPTIM_DENSE_MODES_H_
#define TRIBUTARY_OPTIM_DENSE_MODES_H_

#include <memory>

#include "absl/status/status.h"
#include "optim/aggregator.h"
#include "optim/commit.h"
#include "optim/encoder.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "optim/replica_state.h"

namespace tributary::optim {

// Fraction bits of the aggregator's int64 sums at kMaxWeight. A value times its weight's share of 2^40 is rounded once, to nearest even;
// kMaxWorkers (2^12) values of at most 2^10 sum to at most 2^62 units.
inline constexpr int kDenseFractionBits = 40;

// Threads would not help an encoder that only copies.
std::unique_ptr<UpdateEncoder> MakeValueEncoder(const OptimizerOptions& options, const Layout& layout, int threads = 1);
std::unique_ptr<UpdateEncoder> MakeSignEncoder(const OptimizerOptions& options, const Layout& layout, int threads = 1);

// The weighted mean, or that of the signs; as OptimizerOptions::aggregation says, or order statistics. The majority.
std::unique_ptr<Aggregator> MakeValueAggregator(const OptimizerOptions& options, const Layout& layout);
std::unique_ptr<Aggregator> MakeOrderedAggregator(const OptimizerOptions& options, const Layout& layout);
std::unique_ptr<Aggregator> MakeSignAggregator(const OptimizerOptions& options, const Layout& layout);

PayloadBounds ValuePayloadBounds(const OptimizerOptions& options, const Layout& layout);
PayloadBounds SignPayloadBounds(const OptimizerOptions& options, const Layout& layout);

// allreduce: AdamWStep with step = commit.round and the commit's learning rate.
absl::Status ApplyAdamW(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                        ReplicaState& state, int threads);
// fedavg: theta -= outer_learning_rate * mean.
absl::Status ApplyMean(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                       ReplicaState& state, int threads);
// diloco: b = outer_momentum*b + mean;  theta -= outer_learning_rate * (mean + outer_momentum*b).
absl::Status ApplyNesterov(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                           ReplicaState& state, int threads);
// signsgd: theta = theta*(1 - lr*wd) - lr*vote, with lr the commit's learning rate and vote in {-1, 0, +1}.
absl::Status ApplyVote(const OptimizerOptions& options, const Layout& layout, const CommitHead& commit, const StoredBytes& payload,
                       ReplicaState& state, int threads);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_DENSE_MODES_H_
