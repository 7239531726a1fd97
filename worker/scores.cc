#include "worker/scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace tributary::worker {
namespace {

using optim::MetricKind;

// Harmonic mean of precision and recall.
double F1(uint64_t hits, uint64_t labelled, uint64_t predicted) {
  return 2 * static_cast<double>(hits) / static_cast<double>(labelled + predicted);
}

double LogSumExp(absl::Span<const float> values) {
  const float most = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (const float value : values) {
    sum += std::exp(static_cast<double>(value) - most);
  }
  return most + std::log(sum);
}

}  // namespace

double RankProbability(const std::vector<float>& scores, const std::vector<bool>& positive) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&scores](size_t a, size_t b) { return scores[a] < scores[b]; });
  double ranks = 0;  // sum over the positive ones, from 1; equal scores share the mean of their ranks
  double positives = 0;
  for (size_t first = 0; first < order.size();) {
    size_t end = first;
    while (end < order.size() && scores[order[end]] == scores[order[first]]) {
      ++end;
    }
    const double rank = static_cast<double>(first + 1 + end) / 2;
    for (; first < end; ++first) {
      if (positive[order[first]]) {
        ranks += rank;
        ++positives;
      }
    }
  }
  const double negatives = static_cast<double>(order.size()) - positives;
  return (ranks - positives * (positives + 1) / 2) / (positives * negatives);
}

Scores::Scores(absl::Span<const MetricKind> asked) {
  for (const MetricKind metric : asked) {
    asked_[static_cast<size_t>(metric)] = true;
  }
  classes_asked_ = Asked(MetricKind::kAccuracy) || Asked(MetricKind::kAuroc) || Asked(MetricKind::kF1);
}

void Scores::Add(absl::Span<const float> outputs, const Batch& batch) {
  if (classes_asked_ && !batch.targets.empty()) {
    AddClasses(outputs, batch.targets);
  }
  if (Asked(MetricKind::kRmse) && !batch.values.empty()) {
    for (size_t i = 0; i < batch.values.size(); ++i) {
      const double error = static_cast<double>(outputs[i]) - batch.values[i];
      squares_ += error * error;
    }
    values_ += batch.values.size();
  }
}

void Scores::AddClasses(absl::Span<const float> outputs, absl::Span<const int64_t> targets) {
  const size_t classes = outputs.size() / targets.size();
  if (Asked(MetricKind::kF1) && hits_of_.size() < classes) {
    hits_of_.resize(classes);
    labelled_.resize(classes);
    predicted_.resize(classes);
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    const absl::Span<const float> said = outputs.subspan(i * classes, classes);
    const int64_t label = targets[i];
    if (label < 0 || static_cast<size_t>(label) >= classes) {
      continue;  // not to be judged
    }
    const auto choice = static_cast<int64_t>(std::max_element(said.begin(), said.end()) - said.begin());
    ++samples_;
    hits_ += choice == label ? 1 : 0;
    if (Asked(MetricKind::kF1)) {
      hits_of_[label] += choice == label ? 1 : 0;
      ++labelled_[label];
      ++predicted_[choice];
    }
    if (!Asked(MetricKind::kAuroc)) {
      continue;
    }
    labels_.push_back(label);
    if (classes == 2) {
      scores_.push_back(said[1] - said[0]);
      continue;
    }
    const double sum = LogSumExp(said);
    for (const float value : said) {
      scores_.push_back(static_cast<float>(value - sum));
    }
  }
}

std::map<std::string, double> Scores::Metrics(double loss, double value_scale) const {
  std::map<std::string, double> metrics;
  const auto report = [&](MetricKind metric, double value) {
    if (Asked(metric) && std::isfinite(value)) {
      metrics[std::string(optim::TraitsOf(metric).name)] = value;
    }
  };
  report(MetricKind::kPerplexity, std::exp(loss));
  if (values_ > 0) {
    report(MetricKind::kRmse, value_scale * std::sqrt(squares_ / static_cast<double>(values_)));
  }
  if (samples_ > 0) {
    report(MetricKind::kAccuracy, static_cast<double>(hits_) / static_cast<double>(samples_));
  }
  // A mean over the classes for which there is a number: not a number if there is none.
  const auto mean = [](const std::vector<double>& of_classes) {
    return std::accumulate(of_classes.begin(), of_classes.end(), 0.0) / static_cast<double>(of_classes.size());
  };
  std::vector<double> f1;
  for (size_t c = hits_of_.size() == 2 ? 1 : 0; c < hits_of_.size(); ++c) {
    if (labelled_[c] + predicted_[c] > 0) {
      f1.push_back(F1(hits_of_[c], labelled_[c], predicted_[c]));
    }
  }
  report(MetricKind::kF1, mean(f1));
  const bool ordered = std::none_of(scores_.begin(), scores_.end(), [](float score) { return std::isnan(score); });
  std::vector<double> auroc;
  const size_t columns = labels_.empty() || !ordered ? 0 : scores_.size() / labels_.size();
  std::vector<float> column(labels_.size());
  std::vector<bool> positive(labels_.size());
  for (size_t c = 0; c < columns; ++c) {
    const auto of_class = static_cast<int64_t>(columns == 1 ? 1 : c);
    size_t positives = 0;
    for (size_t i = 0; i < labels_.size(); ++i) {
      column[i] = scores_[i * columns + c];
      positive[i] = labels_[i] == of_class;
      positives += positive[i] ? 1 : 0;
    }
    if (positives > 0 && positives < labels_.size()) {
      auroc.push_back(RankProbability(column, positive));
    }
  }
  report(MetricKind::kAuroc, mean(auroc));
  return metrics;
}

}  // namespace tributary::worker
