// A Journal that tells the Witness what it acknowledged. See witness.h.
#ifndef TRIBUTARY_SIM_WATCHED_JOURNAL_H_
#define TRIBUTARY_SIM_WATCHED_JOURNAL_H_

#include <memory>
#include <string>
#include <utility>

#include "coordinator/journal/forwarding_journal.h"
#include "sim/witness.h"

namespace tributary::sim {

class WatchedJournal final : public coordinator::ForwardingJournal {
 public:
  WatchedJournal(Witness* witness, std::unique_ptr<coordinator::Journal> journal)
      : ForwardingJournal(std::move(journal)), witness_(witness) {}

  absl::Status AddRun(const coordinator::JournaledRun& run) override {
    return Told(ForwardingJournal::AddRun(run), [&] { witness_->OnRun(run); });
  }
  absl::Status SetRunState(const std::string& run_id, v1::RunState state, absl::string_view reason, int64_t finished) override {
    return Told(ForwardingJournal::SetRunState(run_id, state, reason, finished), [&] { witness_->OnState(run_id, state, reason); });
  }
  absl::Status ReplaceRun(const coordinator::JournaledRun& run) override {
    return Told(ForwardingJournal::ReplaceRun(run), [&] { witness_->OnExtended(run); });
  }
  absl::Status StartRound(const std::string& run_id, const coordinator::JournaledRound& round) override {
    return Told(ForwardingJournal::StartRound(run_id, round), [&] { witness_->OnRound(run_id, round); });
  }
  absl::Status AddUpdates(const std::string& run_id, uint64_t round, absl::Span<const coordinator::JournaledUpdate> updates) override {
    return Told(ForwardingJournal::AddUpdates(run_id, round, updates), [&] {
      for (const coordinator::JournaledUpdate& update : updates) {
        witness_->OnUpdate(run_id, round, update);
      }
    });
  }
  absl::Status AddCommit(const std::string& run_id, uint64_t round, const coordinator::JournaledCommit& commit) override {
    return Told(ForwardingJournal::AddCommit(run_id, round, commit), [&] { witness_->OnCommit(run_id, round, commit); });
  }
  absl::Status SetEvaluation(const std::string& run_id, uint64_t round, const coordinator::JournaledEvaluation& evaluation) override {
    return Told(ForwardingJournal::SetEvaluation(run_id, round, evaluation), [&] { witness_->OnEvaluation(run_id, round, evaluation); });
  }
  absl::Status AddSnapshot(const std::string& run_id, const coordinator::JournaledSnapshot& snapshot) override {
    return Told(ForwardingJournal::AddSnapshot(run_id, snapshot), [&] { witness_->OnSnapshot(run_id); });
  }

 private:
  template <typename Tell>
  static absl::Status Told(absl::Status status, Tell tell) {
    if (status.ok()) {
      tell();
    }
    return status;
  }

  Witness* const witness_;
};

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_WATCHED_JOURNAL_H_
