// A Journal that passes everything on to another; what derives from it watches, changes or fails one thing or another on the way.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_FORWARDING_JOURNAL_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_FORWARDING_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "coordinator/journal/journal.h"

namespace tributary::coordinator {

class ForwardingJournal : public Journal {
 public:
  explicit ForwardingJournal(std::unique_ptr<Journal> journal) : journal_(std::move(journal)) {}

  absl::Status AddRun(const JournaledRun& run) override { return journal_->AddRun(run); }
  absl::Status SetRunState(const std::string& run_id, v1::RunState state, absl::string_view reason, int64_t finished) override {
    return journal_->SetRunState(run_id, state, reason, finished);
  }
  absl::Status ReplaceRun(const JournaledRun& run) override { return journal_->ReplaceRun(run); }
  absl::StatusOr<std::vector<JournaledRun>> Runs() override { return journal_->Runs(); }
  bool KeepsSites() const override { return journal_->KeepsSites(); }
  absl::Status PutSite(const v1::SiteRecord& site, const SiteAct& act) override { return journal_->PutSite(site, act); }
  absl::StatusOr<std::vector<v1::SiteRecord>> Sites() override { return journal_->Sites(); }
  bool KeepsFiles() const override { return journal_->KeepsFiles(); }
  absl::StatusOr<std::vector<std::string>> PayloadFiles(const std::string& run_id) override { return journal_->PayloadFiles(run_id); }
  absl::Status StartRound(const std::string& run_id, const JournaledRound& round) override { return journal_->StartRound(run_id, round); }
  absl::StatusOr<std::optional<JournaledRound>> OpenRound(const std::string& run_id) override { return journal_->OpenRound(run_id); }
  absl::Status AddUpdates(const std::string& run_id, uint64_t round, absl::Span<const JournaledUpdate> updates) override {
    return journal_->AddUpdates(run_id, round, updates);
  }
  absl::Status VisitUpdates(const std::string& run_id, uint64_t round,
                            const std::function<absl::Status(const JournaledUpdate&)>& visit) override {
    return journal_->VisitUpdates(run_id, round, visit);
  }
  absl::Status AddCommit(const std::string& run_id, uint64_t round, const JournaledCommit& commit) override {
    return journal_->AddCommit(run_id, round, commit);
  }
  absl::StatusOr<uint64_t> LastCommit(const std::string& run_id) override { return journal_->LastCommit(run_id); }
  absl::StatusOr<JournaledCommit> Commit(const std::string& run_id, uint64_t round) override { return journal_->Commit(run_id, round); }
  absl::Status VisitCommits(const std::string& run_id, uint64_t first, uint64_t last,
                            const std::function<absl::Status(uint64_t, const JournaledCommit&)>& visit) override {
    return journal_->VisitCommits(run_id, first, last, visit);
  }
  absl::StatusOr<std::vector<CommitSummary>> CommitSummaries(const std::string& run_id) override {
    return journal_->CommitSummaries(run_id);
  }
  absl::StatusOr<uint64_t> PruneCommits(const std::string& run_id, uint64_t last) override { return journal_->PruneCommits(run_id, last); }
  absl::StatusOr<uint64_t> PrunedThrough(const std::string& run_id) override { return journal_->PrunedThrough(run_id); }
  bool CanPrune() const override { return journal_->CanPrune(); }
  absl::StatusOr<std::vector<v1::SiteStatus>> SiteTotals(const std::string& run_id) override { return journal_->SiteTotals(run_id); }
  absl::Status ReplaceAccounts(const std::string& run_id, const v1::RoundRecord& record,
                               const std::vector<v1::SiteStatus>& totals) override {
    return journal_->ReplaceAccounts(run_id, record, totals);
  }
  absl::StatusOr<uint64_t> LastIncluded(const std::string& run_id, const std::string& site) override {
    return journal_->LastIncluded(run_id, site);
  }
  absl::StatusOr<Arrivals> LatestArrivals(const std::string& run_id) override { return journal_->LatestArrivals(run_id); }
  void NoteEvent(const std::string& run_id, const JournaledEvent& event) override { journal_->NoteEvent(run_id, event); }
  void NoteEvidence(const std::string& run_id, const JournaledEvidence& evidence) override { journal_->NoteEvidence(run_id, evidence); }
  AuditStore* audit() override { return journal_->audit(); }
  absl::Status Flush() override { return journal_->Flush(); }
  absl::StatusOr<std::vector<JournaledEvent>> Events(const std::string& run_id) override { return journal_->Events(run_id); }
  absl::StatusOr<std::vector<JournaledEvidence>> Evidence(const std::string& run_id) override { return journal_->Evidence(run_id); }
  bool KeepsMetrics() const override { return journal_->KeepsMetrics(); }
  absl::Status SetEvaluation(const std::string& run_id, uint64_t round, const JournaledEvaluation& evaluation) override {
    return journal_->SetEvaluation(run_id, round, evaluation);
  }
  absl::StatusOr<JournaledEvaluations> Evaluations(const std::string& run_id) override { return journal_->Evaluations(run_id); }
  absl::Status AddSnapshot(const std::string& run_id, const JournaledSnapshot& snapshot) override {
    return journal_->AddSnapshot(run_id, snapshot);
  }
  absl::Status RemoveSnapshot(const std::string& run_id, uint64_t round) override { return journal_->RemoveSnapshot(run_id, round); }
  absl::StatusOr<std::vector<JournaledSnapshot>> Snapshots(const std::string& run_id) override { return journal_->Snapshots(run_id); }

  absl::Status CheckIntegrity() override { return journal_->CheckIntegrity(); }
  absl::Status CheckRun(const JournaledRun& run) override { return journal_->CheckRun(run); }
  absl::Status BackUp(const std::string& path, const CopyProgress& progress) override { return journal_->BackUp(path, progress); }
  absl::StatusOr<std::vector<std::string>> Truncate(
      const std::string& run_id, uint64_t round, const std::function<absl::StatusOr<std::optional<JournaledSnapshot>>()>& settle) override {
    return journal_->Truncate(run_id, round, settle);
  }

 private:
  const std::unique_ptr<Journal> journal_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_FORWARDING_JOURNAL_H_
