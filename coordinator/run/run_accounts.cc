#include "coordinator/run/run_accounts.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tributary::coordinator {

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

std::optional<double> MeanBaseLoss(const std::map<std::string, v1::UpdateReport>& reports) {
  std::vector<double> losses;
  for (const auto& [site, report] : reports) {
    if (report.has_val_loss()) {
      losses.push_back(report.val_loss());
    }
  }
  return BoundedMean(std::move(losses));
}

void RunAccounts::Restore(const std::vector<CommitSummary>& commits, const std::vector<v1::SiteStatus>& site_totals,
                          const std::map<uint64_t, double>& validation_losses) {
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
  validation_losses_ = validation_losses;
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

std::optional<double> RunAccounts::LatestValidationLoss() const {
  return validation_losses_.empty() ? std::nullopt : std::optional<double>(validation_losses_.rbegin()->second);
}

v1::RunHistory MakeHistory(const std::vector<CommitSummary>& commits, const std::map<uint64_t, double>& validation_losses) {
  v1::RunHistory history;
  if (const auto initial = validation_losses.find(0); initial != validation_losses.end()) {
    history.add_rounds()->set_val_loss(initial->second);
  }
  for (const CommitSummary& commit : commits) {
    v1::RoundRecord& record = *history.add_rounds();
    record = commit.round_record;
    if (const auto loss = validation_losses.find(commit.round); loss != validation_losses.end()) {
      record.set_val_loss(loss->second);
    }
  }
  return history;
}

}  // namespace tributary::coordinator
