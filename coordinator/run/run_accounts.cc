#include "coordinator/run/run_accounts.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "optim/metric_kind.h"

namespace tributary::coordinator {
namespace {

// Of what a site says, no more is looked at.
constexpr int kMostMetrics = 16;

template <typename Report>
std::optional<JournaledEvaluation> EvaluationOf(const Report& report, const v1::EvaluationSpec& asked) {
  const auto possible = [](double value) { return std::isfinite(value) && value >= 0; };
  if (!report.has_val_loss() || !possible(report.val_loss())) {
    return std::nullopt;
  }
  JournaledEvaluation evaluation = {report.val_loss()};
  for (int i = 0; i < std::min(report.metrics_size(), kMostMetrics); ++i) {
    const v1::Metric& metric = report.metrics(i);
    const std::optional<optim::MetricKind> kind = optim::MetricNamed(metric.name());
    const bool is_asked = std::find(asked.metrics().begin(), asked.metrics().end(), metric.name()) != asked.metrics().end();
    if (kind.has_value() && is_asked && possible(metric.value()) && metric.value() <= optim::TraitsOf(*kind).most) {
      evaluation.metrics.emplace(metric.name(), metric.value());
    }
  }
  return evaluation;
}

}  // namespace

std::optional<double> BoundedMean(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value) || value < 0; });
  if (values.empty()) {
    return std::nullopt;
  }
  const auto median = values.begin() + static_cast<ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), median, values.end());
  const double most = 4 * *median + 1;
  double sum = 0;
  for (const double value : values) {
    sum += std::min(value, most);
  }
  return sum / static_cast<double>(values.size());
}

std::optional<double> MeanTrainLoss(const std::map<std::string, v1::UpdateReport>& reports) {
  std::vector<double> losses;
  for (const auto& [site, report] : reports) {
    losses.push_back(report.train_loss());
  }
  return BoundedMean(std::move(losses));
}

std::optional<JournaledEvaluation> EvaluationIn(const v1::UpdateReport& report, const v1::EvaluationSpec& asked) {
  return EvaluationOf(report, asked);
}

std::optional<JournaledEvaluation> EvaluationIn(const v1::StateReport& report, const v1::EvaluationSpec& asked) {
  return EvaluationOf(report, asked);
}

void KeepAsked(const v1::EvaluationSpec& asked, v1::UpdateReport& report) {
  SetMetrics(EvaluationIn(report, asked).value_or(JournaledEvaluation{}).metrics, *report.mutable_metrics());
}

std::optional<JournaledEvaluation> MeanOf(const std::map<std::string, JournaledEvaluation>& by_site) {
  std::vector<double> losses;
  std::map<std::string, std::vector<double>> metrics;
  for (const auto& [site, evaluation] : by_site) {
    losses.push_back(evaluation.loss);
    for (const auto& [name, value] : evaluation.metrics) {
      metrics[name].push_back(value);
    }
  }
  const std::optional<double> loss = BoundedMean(std::move(losses));
  if (!loss.has_value()) {
    return std::nullopt;
  }
  JournaledEvaluation mean = {*loss};
  for (auto& [name, values] : metrics) {
    if (const std::optional<double> value = BoundedMean(std::move(values)); value.has_value() && std::isfinite(*value)) {
      mean.metrics[name] = *value;
    }
  }
  return mean;
}

void SetMetrics(const std::map<std::string, double>& metrics, google::protobuf::RepeatedPtrField<v1::Metric>& field) {
  field.Clear();
  for (const auto& [name, value] : metrics) {
    v1::Metric& metric = *field.Add();
    metric.set_name(name);
    metric.set_value(value);
  }
}

void RunAccounts::Restore(const std::vector<CommitSummary>& commits, const std::vector<v1::SiteStatus>& site_totals,
                          const JournaledEvaluations& evaluations) {
  for (const CommitSummary& commit : commits) {
    closed_.up += commit.round_record.bytes_up();
    closed_.down += commit.round_record.bytes_down();
    if (commit.round_record.has_train_loss()) {
      train_loss_ = commit.round_record.train_loss();
    }
  }
  if (!commits.empty()) {
    last_record_ = commits.back().round_record;
  }
  for (const v1::SiteStatus& totals : site_totals) {
    sites_[totals.site()] = totals;
  }
  evaluations_ = evaluations;
}

void RunAccounts::CountBytes(const std::string& site_name, ByteDirection direction, uint64_t bytes) {
  v1::SiteStatus& totals = site(site_name);
  if (direction == ByteDirection::kUp) {
    totals.set_bytes_up(totals.bytes_up() + bytes);
    interval_.up += bytes;
  } else {
    totals.set_bytes_down(totals.bytes_down() + bytes);
    interval_.down += bytes;
  }
}

v1::SiteStatus& RunAccounts::site(const std::string& name) {
  v1::SiteStatus& status = sites_[name];
  if (status.site().empty()) {
    status.set_site(name);
  }
  return status;
}

const v1::SiteStatus* RunAccounts::Find(const std::string& name) const {
  const auto found = sites_.find(name);
  return found == sites_.end() ? nullptr : &found->second;
}

std::string RunAccounts::QuarantineOf(const std::string& name) const {
  const v1::SiteStatus* const found = Find(name);
  return found == nullptr ? "" : found->quarantine();
}

std::vector<v1::SiteStatus> RunAccounts::SiteTotals() const {
  std::vector<v1::SiteStatus> totals;
  totals.reserve(sites_.size());
  for (const auto& [name, status] : sites_) {
    totals.push_back(status);
  }
  return totals;
}

void RunAccounts::CountRound(const std::vector<std::string>& included, const std::vector<std::string>& stragglers) {
  for (const std::string& name : included) {
    v1::SiteStatus& totals = site(name);
    totals.set_updates_included(totals.updates_included() + 1);
  }
  for (const std::string& name : stragglers) {
    v1::SiteStatus& totals = site(name);
    totals.set_rounds_missed(totals.rounds_missed() + 1);
  }
}

void RunAccounts::CloseInterval(v1::RoundRecord& record) {
  record.set_bytes_up(interval_.up);
  record.set_bytes_down(interval_.down);
  record.set_payload_bytes_up(payload_up_);
  closed_ = totals();
  interval_ = {};
  payload_up_ = 0;
}

void RunAccounts::AddTailToLastRecord() {
  if (!last_record_.has_value()) {
    return;
  }
  last_record_->set_bytes_up(last_record_->bytes_up() + interval_.up);
  last_record_->set_bytes_down(last_record_->bytes_down() + interval_.down);
  last_record_->set_payload_bytes_up(last_record_->payload_bytes_up() + payload_up_);
  closed_ = totals();
  interval_ = {};
  payload_up_ = 0;
}

void RunAccounts::SetSiteEvaluation(const std::string& name, const std::optional<JournaledEvaluation>& evaluation) {
  v1::SiteStatus& totals = site(name);
  totals.clear_val_loss();
  totals.clear_metrics();
  if (evaluation.has_value()) {
    totals.set_val_loss(evaluation->loss);
    SetMetrics(evaluation->metrics, *totals.mutable_metrics());
  }
}

std::map<std::string, JournaledEvaluation> RunAccounts::SetSiteEvaluations(const std::map<std::string, v1::UpdateReport>& reports,
                                                                           const v1::EvaluationSpec& asked) {
  std::map<std::string, JournaledEvaluation> said;
  for (const auto& [name, report] : reports) {
    const std::optional<JournaledEvaluation> evaluation = EvaluationIn(report, asked);
    SetSiteEvaluation(name, evaluation);
    if (evaluation.has_value()) {
      said[name] = *evaluation;
    }
  }
  return said;
}

void RunAccounts::KeepEvaluationsOf(uint64_t round) {
  for (const auto& [name, totals] : sites_) {
    if (totals.round() != round) {
      SetSiteEvaluation(name, std::nullopt);
    }
  }
}

std::map<std::string, JournaledEvaluation> RunAccounts::SiteEvaluations() const {
  std::map<std::string, JournaledEvaluation> said;
  for (const auto& [name, totals] : sites_) {
    if (totals.has_val_loss()) {
      JournaledEvaluation& evaluation = said[name];
      evaluation.loss = totals.val_loss();
      for (const v1::Metric& metric : totals.metrics()) {
        evaluation.metrics[metric.name()] = metric.value();
      }
    }
  }
  return said;
}

v1::RunHistory MakeHistory(const std::vector<CommitSummary>& commits, const JournaledEvaluations& evaluations) {
  v1::RunHistory history;
  const auto set = [&evaluations](uint64_t round, v1::RoundRecord& record) {
    if (const auto found = evaluations.find(round); found != evaluations.end()) {
      record.set_val_loss(found->second.loss);
      SetMetrics(found->second.metrics, *record.mutable_metrics());
    }
  };
  if (evaluations.contains(0)) {
    set(0, *history.add_rounds());
  }
  for (const CommitSummary& commit : commits) {
    v1::RoundRecord& record = *history.add_rounds();
    record = commit.round_record;
    set(commit.round, record);
  }
  return history;
}

}  // namespace tributary::coordinator
