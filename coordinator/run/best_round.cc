#include "coordinator/run/best_round.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "optim/metric_kind.h"
#include "proto/config/run_options.h"

namespace tributary::coordinator {
namespace {

class Judge {
 public:
  explicit Judge(const v1::RunSpec& spec) : name_(JudgedBy(spec)) {
    const std::optional<optim::MetricKind> metric = optim::MetricNamed(name_);
    higher_ = metric.has_value() && optim::TraitsOf(*metric).better == optim::Better::kHigher;
  }

  std::optional<double> ValueOf(const JournaledEvaluation& evaluation) const {
    if (name_ == kLossName) {
      return evaluation.loss;
    }
    const auto metric = evaluation.metrics.find(name_);
    return metric == evaluation.metrics.end() ? std::nullopt : std::make_optional(metric->second);
  }

  // By more than `change`.
  bool Better(double value, double than, double change) const { return (higher_ ? value - than : than - value) > change; }

  // Whether no value, where there was one before, means that it is beyond all numbers, as of a model that diverges while its loss is still
  // one.
  bool MayOverflow() const { return name_ == optim::TraitsOf(optim::MetricKind::kPerplexity).name; }

  std::string name() const { return name_ == kLossName ? "validation loss" : name_; }

 private:
  const std::string name_;
  bool higher_ = false;
};

}  // namespace

std::optional<JudgedRound> BestRound(const v1::RunSpec& spec, const JournaledEvaluations& evaluations) {
  const Judge judge(spec);
  std::optional<JudgedRound> best;
  for (const auto& [round, evaluation] : evaluations) {
    const std::optional<double> value = judge.ValueOf(evaluation);
    if (value.has_value() && (!best.has_value() || judge.Better(*value, best->value, 0))) {
      best = {round, *value};
    }
  }
  return best;
}

std::string WhyNotJudged(const v1::RunSpec& spec, const JournaledEvaluations& evaluations) {
  const Judge judge(spec);
  if (!spec.has_stop_when() || evaluations.size() != 1 || judge.ValueOf(evaluations.begin()->second).has_value()) {
    return "";
  }
  return absl::StrCat("no site has reported ", judge.name(), " with the loss of round ", evaluations.begin()->first,
                      "; while nobody does, stop_when does not end the run, and it has no best round");
}

std::optional<std::string> EarlyEnd(const v1::RunSpec& spec, const JournaledEvaluations& evaluations, uint64_t committed) {
  if (!spec.has_stop_when()) {
    return std::nullopt;
  }
  const v1::StopSpec& stop = spec.stop_when();
  const Judge judge(spec);
  std::optional<JudgedRound> best;
  uint32_t in_vain = 0;
  for (auto evaluated = evaluations.begin(); evaluated != evaluations.lower_bound(committed); ++evaluated) {
    const std::optional<double> value = judge.ValueOf(evaluated->second);
    if (!value.has_value() && !(best.has_value() && judge.MayOverflow())) {
      continue;
    }
    const uint64_t round = evaluated->first;
    if (value.has_value() && (!best.has_value() || judge.Better(*value, best->value, stop.min_change()))) {
      best = {round, *value};
      in_vain = 0;
    } else if (round > stop.after() && ++in_vain >= stop.patience()) {
      return absl::StrCat(judge.name(), " has not improved ",
                          stop.min_change() > 0 ? absl::StrFormat("by more than %.4g ", stop.min_change()) : "",
                          absl::StrFormat("on %.4g of round %d in the last ", best->value, best->round),
                          stop.patience() == 1 ? "evaluation" : absl::StrCat(stop.patience(), " evaluations"));
    }
  }
  return std::nullopt;
}

}  // namespace tributary::coordinator
