// What the aggregators of the sparse modes share: updates are decoded and checked, commits encoded. Internal. The sums themselves:
// residual_aggregator.cc, sender_mean_aggregator.cc.
#ifndef TRIBUTARY_OPTIM_SPARSE_AGGREGATOR_H_
#define TRIBUTARY_OPTIM_SPARSE_AGGREGATOR_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "optim/chunk_plan.h"
#include "optim/payload.h"
#include "optim/round_aggregator.h"

namespace tributary::optim {

class SparseAggregator : public RoundAggregator {
 public:
  // `layout` must outlive the aggregator.
  SparseAggregator(const OptimizerOptions& options, const Layout& layout) : RoundAggregator(options, layout), plan_(options, layout) {
    if (options.aggregation == Aggregation::kAgreement) {
      AskWhoAgrees(plan_.places());
    }
  }

  absl::StatusOr<double> Measure(absl::string_view payload) const final;

 protected:
  const ChunkPlan& plan() const { return plan_; }
  // Sum of the weights of what was added, kMaxWeight counting 1: added() itself in uniform runs.
  double added_weight() const { return static_cast<double>(weights()) / kMaxWeight; }
  // For MergeSums. `senders` [places]: how many updates hold the place. InvalidArgument: more of a chunk than `added` updates can hold.
  absl::Status CheckSenders(absl::Span<const uint16_t> senders, uint32_t added) const;

 private:
  absl::StatusOr<double> Sum(absl::string_view payload, uint32_t weight, int sign) final;
  absl::Status Collect(int threads, absl::FunctionRef<absl::Status(uint64_t bytes)> begin, ByteSink sink) final;
  void VisitVotes(absl::string_view payload, Agreement::Vote vote) const final;
  float CommitRate() const final;

  // InvalidArgument: a decoded value is too large for the sum.
  virtual absl::Status CheckRange(const SparseValues& values) const = 0;
  // Adds `share` of an update of weight 1..kMaxWeight, or with `sign` -1 takes it back. 0 < share <= 1.
  virtual void SumValues(const SparseValues& values, uint32_t weight, double share, int sign) = 0;
  // Fills `commit`, which is empty; what is not in it is carried over as the mode says. added() >= 1.
  virtual void CollectValues(SparseValues& commit) = 0;

  // Returns the norm, if norms are measured.
  absl::StatusOr<double> Decode(absl::string_view payload, SparseValues& values) const;

  const ChunkPlan plan_;
  SparseValues decoded_;
};

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_SPARSE_AGGREGATOR_H_
