// What a run has cost and who contributed what: bytes by site and round, counters by site, losses.
//
// Bytes belong to the interval in which they moved: the record of round r holds what moved after commit r-1 became durable and before
// commit r did. So commit r's broadcast counts to round r+1, and what moves after the last commit (its broadcast, the final reports) is
// added to the last record when the run ends. Records add up to the totals exactly. What moved between the last commit and a crash is lost.
#ifndef TRIBUTARY_COORDINATOR_RUN_RUN_ACCOUNTS_H_
#define TRIBUTARY_COORDINATOR_RUN_RUN_ACCOUNTS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/byte_kind.h"
#include "coordinator/journal/journal.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "tributary/v1/admin.pb.h"
#include "tributary/v1/run.pb.h"
#include "tributary/v1/session.pb.h"

namespace tributary::coordinator {

// Bytes over all sites.
struct ByteCounts {
  uint64_t up = 0;
  uint64_t down = 0;
};

// The mean of what sites say of themselves, which no one of them moves far: of each, no more counts than four times the median of all, and
// one besides (of two sites the lower one is the median). What is not finite or below 0 counts as not said; nullopt: nobody said anything.
std::optional<double> BoundedMean(std::vector<double> values);
// Of those that reported one.
std::optional<double> MeanTrainLoss(const std::map<std::string, v1::UpdateReport>& reports);

// What a site says of a state, as far as it can be true: finite, of what the run asks for, and no more than there can be. Nothing: it has
// said no loss.
std::optional<JournaledEvaluation> EvaluationIn(const v1::UpdateReport& report, const v1::EvaluationSpec& asked);
std::optional<JournaledEvaluation> EvaluationIn(const v1::StateReport& report, const v1::EvaluationSpec& asked);
// Of its metrics, leaves in the report what EvaluationIn finds there: a site must not fill the journal.
void KeepAsked(const v1::EvaluationSpec& asked, v1::UpdateReport& report);
// Of each loss and metric the BoundedMean over the sites that said it. Nothing: there are no sites.
std::optional<JournaledEvaluation> MeanOf(const std::map<std::string, JournaledEvaluation>& by_site);
// In place of what was there.
void SetMetrics(const std::map<std::string, double>& metrics, google::protobuf::RepeatedPtrField<v1::Metric>& field);

// Not thread-safe.
class RunAccounts {
 public:
  // Takes up what the journal holds of the run.
  void Restore(const std::vector<CommitSummary>& commits, const std::vector<v1::SiteStatus>& site_totals,
               const JournaledEvaluations& evaluations);

  void CountBytes(const std::string& site, ByteDirection direction, uint64_t bytes);
  void CountUpdatePayload(uint64_t bytes) { payload_up_ += bytes; }

  // Counters of the site and the last hash it reported; made on first use.
  v1::SiteStatus& site(const std::string& name);
  // Null: nothing is known of it.
  const v1::SiteStatus* Find(const std::string& name) const;
  // Why the run has quarantined it for its updates; empty: it has not.
  std::string QuarantineOf(const std::string& name) const;
  std::vector<v1::SiteStatus> SiteTotals() const;
  // Of a round that is committed: whose updates it has, and who did not answer it.
  void CountRound(const std::vector<std::string>& included, const std::vector<std::string>& stragglers);

  // Fills the byte fields of `record` with the interval since the last record, and starts the next interval.
  void CloseInterval(v1::RoundRecord& record);
  // Adds the interval to the newest record; that record is in last_record() then.
  void AddTailToLastRecord();

  void SetLastRecord(const v1::RoundRecord& record) {
    last_record_ = record;
    train_loss_ = record.has_train_loss() ? record.train_loss() : train_loss_;
  }
  const std::optional<v1::RoundRecord>& last_record() const { return last_record_; }
  // What a site has said, when it was asked; nothing: it has not.
  void SetSiteEvaluation(const std::string& name, const std::optional<JournaledEvaluation>& evaluation);
  // The same of all that have sent an update; returns those that have said it.
  std::map<std::string, JournaledEvaluation> SetSiteEvaluations(const std::map<std::string, v1::UpdateReport>& reports,
                                                                const v1::EvaluationSpec& asked);
  // Forgets what sites have said of other states than the last one, state[round], before they report on that: from here on SiteEvaluations
  // is of that one alone.
  void KeepEvaluationsOf(uint64_t round);
  // What each site has said last, by site.
  std::map<std::string, JournaledEvaluation> SiteEvaluations() const;
  void SetEvaluation(uint64_t round, const JournaledEvaluation& evaluation) { evaluations_[round] = evaluation; }
  const JournaledEvaluations& evaluations() const { return evaluations_; }
  // Of the latest round whose sites reported one.
  std::optional<double> LatestTrainLoss() const { return train_loss_; }

  ByteCounts totals() const { return {closed_.up + interval_.up, closed_.down + interval_.down}; }

 private:
  std::map<std::string, v1::SiteStatus> sites_;
  ByteCounts closed_;    // in records
  ByteCounts interval_;  // since
  uint64_t payload_up_ = 0;
  std::optional<v1::RoundRecord> last_record_;
  JournaledEvaluations evaluations_;
  std::optional<double> train_loss_;
};

// The records as operators see them: evaluations at the rounds they belong to, and a record 0 for that of the initial weights.
v1::RunHistory MakeHistory(const std::vector<CommitSummary>& commits, const JournaledEvaluations& evaluations);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_RUN_ACCOUNTS_H_
