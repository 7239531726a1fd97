// The course of a round, which all aggregators share: what may come when, and whose sum it is. What a sum is made of, the families say
// (value_aggregator.cc, sign_aggregator.cc, sparse_aggregator.h). Internal.
#ifndef TRIBUTARY_OPTIM_ROUND_AGGREGATOR_H_
#define TRIBUTARY_OPTIM_ROUND_AGGREGATOR_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/byte_sink.h"
#include "common/stored_bytes.h"
#include "optim/aggregator.h"
#include "optim/agreement.h"
#include "optim/norm_gate.h"

namespace tributary::optim {

class RoundAggregator : public Aggregator {
 public:
  // `layout` must outlive the aggregator.
  RoundAggregator(const OptimizerOptions& options, const Layout& layout) : options_(options), layout_(layout), gate_(options, layout) {}

  absl::StatusOr<double> ShareOf(double norm, absl::string_view site) const final;
  absl::Status BeginRound(const RoundParameters& parameters, uint32_t members) final;
  absl::Status Add(absl::string_view payload, uint32_t weight, absl::string_view site) final;
  absl::Status AddStored(SharedBytes payload, uint32_t weight, std::optional<double> norm, absl::string_view site) final;
  absl::Status Remove(absl::string_view payload, uint32_t weight, absl::string_view site) final;
  absl::Status RemoveStored(const SharedBytes& payload, uint32_t weight, absl::string_view site) final;
  absl::StatusOr<Commit> Finish() final;
  absl::StatusOr<CommitHead> FinishRecord(ByteSink sink, int threads) final;
  absl::StatusOr<std::string> ExportPartial() final;
  absl::Status MergePartial(absl::string_view partial) final;
  std::string SaveState() const final;
  absl::Status RestoreState(absl::string_view state) final;

 protected:
  const OptimizerOptions& options() const { return options_; }
  const Layout& layout() const { return layout_; }
  const RoundParameters& parameters() const { return parameters_; }
  uint32_t members() const { return members_; }
  // Updates in the sum of the open round, and the sum of their weights.
  uint32_t added() const { return added_; }
  uint64_t weights() const { return weights_; }

  // What the sum takes of an update that it takes.
  absl::StatusOr<double> BoundedShare(double norm) const { return gate_.ShareOf(norm); }
  // Of runs with Aggregation::kAgreement, before the first round: sites vote on so many places, which VisitVotes knows.
  void AskWhoAgrees(int64_t places) { agreement_.emplace(places); }
  // Whether norms are to be measured.
  bool bounds_norms() const { return gate_.bounds(); }

 private:
  // `sum` returns the norm of what it has added or taken back.
  absl::Status Take(uint32_t weight, absl::FunctionRef<absl::StatusOr<double>()> sum);
  absl::Status TakeBack(uint32_t weight, absl::FunctionRef<absl::StatusOr<double>()> sum);
  // Sum in a run that asks who agrees.
  absl::StatusOr<double> SumAgreed(absl::string_view payload, uint32_t weight, int sign, absl::string_view site);
  // Closes the round and gives its commit's parts, as Collect does.
  absl::StatusOr<CommitHead> Close(int threads, absl::FunctionRef<absl::Status(const CommitHead& head)> begin, ByteSink sink);

  // A round begins: forgets what an earlier one has left, but for the server-side residual.
  virtual void Open() = 0;
  // Checks an update and adds its share, or with `sign` -1 takes it back. Returns its norm, if norms are measured. An error leaves the sum
  // as it was.
  virtual absl::StatusOr<double> Sum(absl::string_view payload, uint32_t weight, int sign) = 0;
  // The same of a stored update: by reading all of it, unless the family leaves it where it is.
  virtual absl::StatusOr<double> SumStored(const SharedBytes& payload, uint32_t weight, int sign, std::optional<double> norm);
  // Of runs with Aggregation::kAgreement: the votes of an update that was found valid.
  virtual void VisitVotes(absl::string_view payload, Agreement::Vote vote) const;
  // The commit's payload: its length to `begin`, then its bytes to `sink`. added() >= 1.
  virtual absl::Status Collect(int threads, absl::FunctionRef<absl::Status(uint64_t bytes)> begin, ByteSink sink) = 0;
  // The commit's learning rate.
  virtual float CommitRate() const { return parameters_.learning_rate; }

  // What the family keeps between rounds, as bytes that check themselves.
  virtual std::string SaveSum() const = 0;
  // DataLoss: not what SaveSum gives; nothing is changed.
  virtual absl::Status RestoreSum(absl::string_view state) = 0;

  // Whether the sum holds what earlier rounds left out.
  virtual bool HoldsResidual() const { return false; }
  // Appends the open round's sums to `out`, and forgets them. Not while HoldsResidual.
  virtual absl::Status TakeSums(std::string& out) = 0;
  // Adds `sums`, which are said to be of `added` updates with `weights` in all, as TakeSums wrote them. InvalidArgument: they are not
  // canonical, or larger than so many updates can make them; nothing was added.
  virtual absl::Status MergeSums(absl::string_view sums, uint32_t added, uint64_t weights) = 0;

  const OptimizerOptions options_;
  const Layout& layout_;
  NormGate gate_;
  std::optional<Agreement> agreement_;
  bool open_ = false;
  RoundParameters parameters_;
  uint32_t members_ = 0;
  uint32_t added_ = 0;
  uint64_t weights_ = 0;
};

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_ROUND_AGGREGATOR_H_
