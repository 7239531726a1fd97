// The metrics of a model on a validation split, gathered batch by batch from what it says of each target. Weights of samples do not count.
//
// For classes, with scikit-learn's definitions: accuracy, the share of samples whose likeliest class is theirs; F1, of class 1 where there
// are two classes, else the mean over all classes that occur, among labels or predictions (average="macro"); AUROC, the probability that a
// random sample of class 1 gets more of class 1 than one of class 0, ties half (the Mann-Whitney statistic); of more classes, the mean over
// each against the rest (multi_class="ovr", average="macro"), of those that occur.
#ifndef TRIBUTARY_WORKER_SCORES_H_
#define TRIBUTARY_WORKER_SCORES_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "optim/metric_kind.h"
#include "worker/models/batch.h"

namespace tributary::worker {

// Not thread-safe.
class Scores {
 public:
  explicit Scores(absl::Span<const optim::MetricKind> asked);

  // Whether any of them needs what the model says of each target; if not, Add need not be called.
  bool needs_outputs() const { return classes_asked_ || Asked(optim::MetricKind::kRmse); }

  // `outputs`: as Model::Outputs, unnormalised log-probabilities [targets, classes] if the batch has targets, numbers [rows, 1] if it has
  // values.
  void Add(absl::Span<const float> outputs, const Batch& batch);

  // Of all that was added. What is undefined there (AUROC where one class alone occurs, say) or not finite is left out. `loss`: mean
  // cross-entropy in nats, for the perplexity; `value_scale`: DataSource's.
  std::map<std::string, double> Metrics(double loss, double value_scale) const;

 private:
  bool Asked(optim::MetricKind metric) const { return asked_[static_cast<size_t>(metric)]; }
  void AddClasses(absl::Span<const float> outputs, absl::Span<const int64_t> targets);

  bool asked_[optim::kMetrics.size()] = {};
  bool classes_asked_ = false;
  uint64_t samples_ = 0;
  uint64_t hits_ = 0;
  // By class.
  std::vector<uint64_t> hits_of_, labelled_, predicted_;
  // For AUROC: the label of each sample, and its score for each class ([samples, classes]), or for class 1 alone of two.
  std::vector<int64_t> labels_;
  std::vector<float> scores_;
  uint64_t values_ = 0;
  double squares_ = 0;
};

// The probability that a random score of `positive` is greater than one of the others, ties half, from ranks. Both occur.
double RankProbability(const std::vector<float>& scores, const std::vector<bool>& positive);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SCORES_H_
