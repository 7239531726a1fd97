// What the aggregators of the sparse modes share: checks, and the course of a round. Internal.
#ifndef TRIBUTARY_OPTIM_SPARSE_AGGREGATOR_H_
#define TRIBUTARY_OPTIM_SPARSE_AGGREGATOR_H_

#include <cstdint>
#include <memory>
#include <string>

#include "optim/aggregator.h"
#include "optim/chunk_plan.h"

namespace tributary::optim {

class SparseAggregator : public Aggregator {
 public:
  // `layout` must outlive the aggregator.
  SparseAggregator(const OptimizerOptions& options, const Layout& layout) : options_(options), layout_(layout), plan_(options, layout) {}

  absl::Status Check(absl::string_view payload) const final;
  absl::Status BeginRound(const RoundParameters& parameters, uint32_t members) final;
  absl::Status Add(absl::string_view payload, uint32_t weight) final;
  absl::Status Remove(absl::string_view payload, uint32_t weight) final;
  absl::StatusOr<Commit> Finish() final;

 protected:
  const OptimizerOptions& options() const { return options_; }
  const Layout& layout() const { return layout_; }
  const ChunkPlan& plan() const { return plan_; }
  uint32_t members() const { return members_; }
  uint32_t added() const { return added_; }
  // Sum of the weights of what was added, kMaxWeight counting 1: added() itself in uniform runs.
  double added_weight() const { return static_cast<double>(weights_) / kMaxWeight; }

  // For RestoreState: the open round is gone.
  void CloseRound() { open_ = false; }

 private:
  // InvalidArgument: a decoded value is too large for the sum.
  virtual absl::Status CheckRange(const SparseValues& values) const = 0;
  // Adds an update, or with `sign` -1 takes it back. `share` is its weight, kMaxWeight counting 1.
  virtual void Sum(const SparseValues& values, double share, int sign) = 0;
  // Empties `commit` and fills it; what is not in it is carried over as the mode says. added() >= 1.
  virtual void Collect(SparseValues& commit) = 0;

  absl::Status Decode(absl::string_view payload, SparseValues& values) const;

  const OptimizerOptions options_;
  const Layout& layout_;
  const ChunkPlan plan_;
  bool open_ = false;
  RoundParameters parameters_;
  uint32_t members_ = 0;
  uint32_t added_ = 0;
  uint64_t weights_ = 0;
  SparseValues decoded_;
};

// `demo`: means over the senders, nothing carried over.
std::unique_ptr<Aggregator> MakeSenderMeanAggregator(const OptimizerOptions& options, const Layout& layout);
// `distro` and `local`: a sum with a server-side residual.
std::unique_ptr<Aggregator> MakeResidualAggregator(const OptimizerOptions& options, const Layout& layout);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_SPARSE_AGGREGATOR_H_
