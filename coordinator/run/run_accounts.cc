#include "coordinator/run/run_accounts.h"

#include <cmath>
#include <utility>

namespace tributary::coordinator {

std::optional<double> MeanTrainLoss(const std::map<std::string, v1::UpdateReport>& reports) {
  double sum = 0;
  int count = 0;
  for (const auto& [site, report] : reports) {
    if (std::isfinite(report.train_loss())) {
      sum += report.train_loss();
      ++count;
    }
  }
  return count == 0 ? std::nullopt : std::optional<double>(sum / count);
}

std::optional<double> MeanBaseLoss(const std::map<std::string, v1::UpdateReport>& reports) {
  double sum = 0;
  int count = 0;
  for (const auto& [site, report] : reports) {
    if (report.has_val_loss() && std::isfinite(report.val_loss())) {
      sum += report.val_loss();
      ++count;
    }
  }
  return count == 0 ? std::nullopt : std::optional<double>(sum / count);
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
