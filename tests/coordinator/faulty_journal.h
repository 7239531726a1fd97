// A journal that fails where a test says so: as a full disk does, or as if the process had died right after a write.
#ifndef TRIBUTARY_TESTS_COORDINATOR_FAULTY_JOURNAL_H_
#define TRIBUTARY_TESTS_COORDINATOR_FAULTY_JOURNAL_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/journal/forwarding_journal.h"

namespace tributary::coordinator {

class FaultyJournal final : public ForwardingJournal {
 public:
  enum class Fault { kNotWritten, kWrittenButNotAcknowledged };
  using ForwardingJournal::ForwardingJournal;

  // The write with this number (from 0) fails, and all after it.
  void FailAt(int write, Fault fault) { fail_at_ = write, fault_ = fault; }
  int writes() const { return writes_; }
  // Changes every commit that is read, if set.
  std::function<void(uint64_t round, JournaledCommit&)> tamper;

  absl::Status AddRun(const JournaledRun& run) override {
    return Write([&] { return ForwardingJournal::AddRun(run); });
  }
  absl::Status SetRunState(const std::string& run_id, v1::RunState state, absl::string_view reason, int64_t finished) override {
    return Write([&] { return ForwardingJournal::SetRunState(run_id, state, reason, finished); });
  }
  absl::Status ReplaceRun(const JournaledRun& run) override {
    return Write([&] { return ForwardingJournal::ReplaceRun(run); });
  }
  absl::Status StartRound(const std::string& run_id, const JournaledRound& round) override {
    return Write([&] { return ForwardingJournal::StartRound(run_id, round); });
  }
  absl::Status AddUpdates(const std::string& run_id, uint64_t round, absl::Span<const JournaledUpdate> updates) override {
    return Write([&] { return ForwardingJournal::AddUpdates(run_id, round, updates); });
  }
  absl::Status AddCommit(const std::string& run_id, uint64_t round, const JournaledCommit& commit) override {
    return Write([&] { return ForwardingJournal::AddCommit(run_id, round, commit); });
  }
  absl::StatusOr<uint64_t> PruneCommits(const std::string& run_id, uint64_t last) override {
    absl::StatusOr<uint64_t> pruned;
    const absl::Status status = Write([&] { return (pruned = ForwardingJournal::PruneCommits(run_id, last)).status(); });
    return status.ok() ? pruned : status;
  }
  absl::Status ReplaceAccounts(const std::string& run_id, const v1::RoundRecord& record,
                               const std::vector<v1::SiteStatus>& totals) override {
    return Write([&] { return ForwardingJournal::ReplaceAccounts(run_id, record, totals); });
  }
  absl::Status Flush() override {
    return Write([&] { return ForwardingJournal::Flush(); });
  }
  absl::Status SetEvaluation(const std::string& run_id, uint64_t round, const JournaledEvaluation& evaluation) override {
    return Write([&] { return ForwardingJournal::SetEvaluation(run_id, round, evaluation); });
  }
  absl::Status AddSnapshot(const std::string& run_id, const JournaledSnapshot& snapshot) override {
    return Write([&] { return ForwardingJournal::AddSnapshot(run_id, snapshot); });
  }
  absl::Status RemoveSnapshot(const std::string& run_id, uint64_t round) override {
    return Write([&] { return ForwardingJournal::RemoveSnapshot(run_id, round); });
  }
  absl::Status VisitCommits(const std::string& run_id, uint64_t first, uint64_t last,
                            const std::function<absl::Status(uint64_t, const JournaledCommit&)>& visit) override {
    return ForwardingJournal::VisitCommits(run_id, first, last, [&](uint64_t round, const JournaledCommit& commit) {
      JournaledCommit seen = commit;
      if (tamper) {
        tamper(round, seen);
      }
      return visit(round, seen);
    });
  }

 private:
  absl::Status Write(const std::function<absl::Status()>& write) {
    const int number = writes_++;
    if (fail_at_ >= 0 && (number > fail_at_ || (number == fail_at_ && fault_ == Fault::kNotWritten))) {
      return absl::ResourceExhaustedError("the disk is full");
    }
    const absl::Status status = write();
    return number == fail_at_ ? absl::ResourceExhaustedError("the disk is full") : status;
  }

  int writes_ = 0;
  int fail_at_ = -1;
  Fault fault_ = Fault::kNotWritten;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_TESTS_COORDINATOR_FAULTY_JOURNAL_H_
