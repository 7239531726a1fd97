// A Journal that passes everything on to another; what derives from it changes one thing or another on the way.
#ifndef TRIBUTARY_SIM_FORWARDING_JOURNAL_H_
#define TRIBUTARY_SIM_FORWARDING_JOURNAL_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/journal/journal.h"

namespace tributary::sim {

class ForwardingJournal : public coordinator::Journal {
 public:
  explicit ForwardingJournal(std::unique_ptr<coordinator::Journal> journal) : journal_(std::move(journal)) {}

  absl::Status AddRun(const coordinator::JournaledRun& run) override { return journal_->AddRun(run); }
  absl::Status SetRunState(const std::string& run_id, v1::RunState state, absl::string_view reason, int64_t finished) override {
    return journal_->SetRunState(run_id, state, reason, finished);
  }
  absl::StatusOr<std::vector<coordinator::JournaledRun>> Runs() override { return journal_->Runs(); }
  absl::Status StartRound(const std::string& run_id, const coordinator::JournaledRound& round) override {
    return journal_->StartRound(run_id, round);
  }
  absl::StatusOr<std::optional<coordinator::JournaledRound>> OpenRound(const std::string& run_id) override {
    return journal_->OpenRound(run_id);
  }
  absl::Status AddUpdate(const std::string& run_id, uint64_t round, const coordinator::JournaledUpdate& update) override {
    return journal_->AddUpdate(run_id, round, update);
  }
  absl::Status VisitUpdates(const std::string& run_id, uint64_t round,
                            const std::function<absl::Status(const coordinator::JournaledUpdate&)>& visit) override {
    return journal_->VisitUpdates(run_id, round, visit);
  }
  absl::Status AddCommit(const std::string& run_id, uint64_t round, const coordinator::JournaledCommit& commit) override {
    return journal_->AddCommit(run_id, round, commit);
  }
  absl::StatusOr<uint64_t> LastCommit(const std::string& run_id) override { return journal_->LastCommit(run_id); }
  absl::StatusOr<coordinator::JournaledCommit> Commit(const std::string& run_id, uint64_t round) override {
    return journal_->Commit(run_id, round);
  }
  absl::Status VisitCommits(const std::string& run_id, uint64_t first, uint64_t last,
                            const std::function<absl::Status(uint64_t, const coordinator::JournaledCommit&)>& visit) override {
    return journal_->VisitCommits(run_id, first, last, visit);
  }
  absl::StatusOr<std::vector<coordinator::CommitSummary>> CommitSummaries(const std::string& run_id) override {
    return journal_->CommitSummaries(run_id);
  }
  absl::StatusOr<std::vector<v1::SiteStatus>> SiteTotals(const std::string& run_id) override { return journal_->SiteTotals(run_id); }
  absl::Status ReplaceAccounts(const std::string& run_id, const v1::RoundRecord& record,
                               const std::vector<v1::SiteStatus>& totals) override {
    return journal_->ReplaceAccounts(run_id, record, totals);
  }
  absl::StatusOr<uint64_t> LastIncluded(const std::string& run_id, const std::string& site) override {
    return journal_->LastIncluded(run_id, site);
  }
  absl::StatusOr<coordinator::Arrivals> LatestArrivals(const std::string& run_id) override { return journal_->LatestArrivals(run_id); }
  void NoteEvent(const std::string& run_id, const coordinator::JournaledEvent& event) override { journal_->NoteEvent(run_id, event); }
  void NoteEvidence(const std::string& run_id, const coordinator::JournaledEvidence& evidence) override {
    journal_->NoteEvidence(run_id, evidence);
  }
  absl::Status Flush() override { return journal_->Flush(); }
  absl::StatusOr<std::vector<coordinator::JournaledEvent>> Events(const std::string& run_id) override { return journal_->Events(run_id); }
  absl::StatusOr<std::vector<coordinator::JournaledEvidence>> Evidence(const std::string& run_id) override {
    return journal_->Evidence(run_id);
  }
  absl::Status SetValidationLoss(const std::string& run_id, uint64_t round, double loss) override {
    return journal_->SetValidationLoss(run_id, round, loss);
  }
  absl::StatusOr<std::map<uint64_t, double>> ValidationLosses(const std::string& run_id) override {
    return journal_->ValidationLosses(run_id);
  }
  absl::Status AddSnapshot(const std::string& run_id, const coordinator::JournaledSnapshot& snapshot) override {
    return journal_->AddSnapshot(run_id, snapshot);
  }
  absl::Status RemoveSnapshot(const std::string& run_id, uint64_t round) override { return journal_->RemoveSnapshot(run_id, round); }
  absl::StatusOr<std::vector<coordinator::JournaledSnapshot>> Snapshots(const std::string& run_id) override {
    return journal_->Snapshots(run_id);
  }

  absl::Status CheckIntegrity() override { return journal_->CheckIntegrity(); }
  absl::Status CheckRun(const coordinator::JournaledRun& run) override { return journal_->CheckRun(run); }
  absl::Status BackUp(const std::string& path) override { return journal_->BackUp(path); }
  absl::StatusOr<std::vector<std::string>> Truncate(
      const std::string& run_id, uint64_t round,
      const std::function<absl::StatusOr<std::optional<coordinator::JournaledSnapshot>>()>& settle) override {
    return journal_->Truncate(run_id, round, settle);
  }

 private:
  const std::unique_ptr<coordinator::Journal> journal_;
};

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_FORWARDING_JOURNAL_H_
