// What training reports of itself, to whoever shows it.
#ifndef TRIBUTARY_WORKER_TRAINING_METRICS_H_
#define TRIBUTARY_WORKER_TRAINING_METRICS_H_

#include <cstdint>

namespace tributary::worker {

enum class StepPhase { kCompute, kEncode, kPersist, kUpload, kSettle, kDownload, kApply, kHash, kEvaluate };

// Shows nothing; WorkerMetrics (metrics.h) does. Thread-safe, like all that derives from it.
class TrainingMetrics {
 public:
  virtual ~TrainingMetrics() = default;

  virtual void ObserveStep(StepPhase phase, double seconds) {}
  virtual void CountSamples(uint64_t samples) {}
  virtual void SetResidualNorm(double norm) {}
  virtual void SetTrainLoss(double loss) {}
  virtual void SetValidationLoss(double loss) {}
  virtual void SetRound(uint64_t round) {}

  // For those who want none.
  static TrainingMetrics& None();
};

inline TrainingMetrics& TrainingMetrics::None() {
  static TrainingMetrics none;
  return none;
}

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_TRAINING_METRICS_H_
