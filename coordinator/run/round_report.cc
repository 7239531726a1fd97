#include "coordinator/run/round_report.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/run/run_accounts.h"
#include "coordinator/run/timed_steps.h"

namespace tributary::coordinator {
namespace {

double Ratio(double numerator, double denominator) {
  return denominator > 0 ? numerator / denominator : 0;
}

}  // namespace

v1::RoundRecord MakeRoundRecord(const RunHost& host, const CloseRound& close, const RoundTimes& times, uint64_t commit_bytes,
                                size_t recipients) {
  const std::map<std::string, v1::UpdateReport> reports = host.reports();
  const size_t members = host.position().open->members.size();
  v1::RoundRecord record;
  record.set_round(close.round);
  record.set_members(static_cast<uint32_t>(members));
  record.set_included(static_cast<uint32_t>(close.included.size()));
  record.set_stragglers(static_cast<uint32_t>(close.stragglers.size()));
  if (const std::optional<double> loss = MeanTrainLoss(reports); loss.has_value()) {
    record.set_train_loss(*loss);
  }
  std::vector<double> compute;
  std::vector<double> encode;
  for (const auto& [site, report] : reports) {
    compute.push_back(report.compute_seconds());
    encode.push_back(report.encode_seconds());
  }
  record.set_compute_seconds(BoundedMean(std::move(compute)).value_or(0));
  record.set_encode_seconds(BoundedMean(std::move(encode)).value_or(0));
  record.set_duration(absl::ToDoubleSeconds(times.committed - times.start));
  record.set_wait_seconds(absl::ToDoubleSeconds(std::max(times.last_accepted, times.start) - times.start));
  record.set_commit_seconds(absl::ToDoubleSeconds(times.committed - times.closing));
  record.set_learning_rate(host.parameters().learning_rate);
  record.set_local_steps(StepsTaken(host.model(), host.parameters(), reports));
  record.set_dense_bytes_per_direction(uint64_t{4} * static_cast<uint64_t>(host.model().layout.size()) * record.local_steps() * members);
  record.set_payload_bytes_down(commit_bytes * recipients);
  return record;
}

double CompressionRatio(const v1::RoundRecord& record) {
  return Ratio(2.0 * static_cast<double>(record.dense_bytes_per_direction()), static_cast<double>(record.bytes_up() + record.bytes_down()));
}

void CountRound(const std::string& run, const CloseRound& close, const v1::RoundRecord& record, CoordinatorMetrics& metrics) {
  for (const std::string& site : close.included) {
    metrics.CountUpdate(site, UpdateResult::kIncluded);
  }
  metrics.SetRound(run, close.round);
  metrics.RoundEnded(record.included() == 0                  ? RoundOutcome::kEmpty
                     : record.included() == record.members() ? RoundOutcome::kCommitted
                                                             : RoundOutcome::kPartial,
                     absl::Seconds(record.duration()));
  metrics.ObservePhase(RoundPhase::kWait, absl::Seconds(record.wait_seconds()));
  metrics.ObservePhase(RoundPhase::kCompute, absl::Seconds(record.compute_seconds()));
  metrics.ObservePhase(RoundPhase::kEncode, absl::Seconds(record.encode_seconds()));
  const uint64_t steps = uint64_t{record.members()} * record.local_steps();
  metrics.CountSteps(steps);
  metrics.ObserveBytesPerStep(ByteDirection::kUp, Ratio(static_cast<double>(record.bytes_up()), static_cast<double>(steps)));
  metrics.ObserveBytesPerStep(ByteDirection::kDown, Ratio(static_cast<double>(record.bytes_down()), static_cast<double>(steps)));
  metrics.CountDenseEquivalent(record.dense_bytes_per_direction());
  metrics.SetCompressionRatio(run, CompressionRatio(record));
  if (record.has_train_loss()) {
    metrics.SetLoss(run, LossSplit::kTrain, record.train_loss());
  }
}

}  // namespace tributary::coordinator
