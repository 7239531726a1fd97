// Tells the log how a run goes on: each round at DEBUG, and a summary at INFO of the rounds since the last, at most one every ten seconds.
#ifndef TRIBUTARY_COORDINATOR_RUN_ROUND_SUMMARY_H_
#define TRIBUTARY_COORDINATOR_RUN_ROUND_SUMMARY_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

// Not thread-safe.
class RoundSummary {
 public:
  // `rounds`: of the whole run.
  RoundSummary(std::string run_id, uint64_t rounds) : run_id_(std::move(run_id)), rounds_(rounds) {}

  void SetRounds(uint64_t rounds) { rounds_ = rounds; }
  // `now`: monotonic.
  void RoundCommitted(const v1::RoundRecord& record, absl::Time now);
  void UpdateCameLate() { ++since_.late; }
  void UpdateRejected() { ++since_.rejected; }
  void SetValidationLoss(double loss) { validation_loss_ = loss; }
  // What is not told yet, if anything: before other news of the run.
  void Flush(absl::Time now);

 private:
  // Since the last summary.
  struct Since {
    uint64_t first_round = 0;  // 0: none
    uint64_t last_round = 0;
    uint64_t included = 0;
    uint64_t expected = 0;
    uint64_t late = 0;
    uint64_t rejected = 0;
    uint64_t bytes_up = 0;
    uint64_t bytes_down = 0;
    std::optional<double> train_loss;
  };

  const std::string run_id_;
  uint64_t rounds_;
  Since since_;
  std::optional<double> validation_loss_;
  absl::Time told_at_ = absl::InfinitePast();
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_ROUND_SUMMARY_H_
