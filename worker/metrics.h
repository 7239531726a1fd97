// What a worker shows to Prometheus: names start with tributary_worker_ (docs/reference/metrics.md lists them).
#ifndef TRIBUTARY_WORKER_METRICS_H_
#define TRIBUTARY_WORKER_METRICS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/byte_kind.h"
#include "common/tls.h"
#include "tributary/v1/session.pb.h"
#include "worker/training_metrics.h"

namespace tributary::worker {

// For tributary_worker_connected.
enum class SessionStanding { kNone, kOpen };

// Thread-safe. All children of counters and histograms exist from the start, so that a rate over them is right from the first event. A
// gauge whose value is not known has no series.
class WorkerMetrics final : public TrainingMetrics {
 public:
  // `state_dir`: the folder whose file system is watched.
  WorkerMetrics(absl::string_view site, absl::string_view software_version, const std::string& state_dir);
  ~WorkerMetrics() override;

  void ObserveStep(StepPhase phase, double seconds) override;
  void CountSamples(uint64_t samples) override;
  void SetResidualNorm(double norm) override;
  void SetTrainLoss(double loss) override;
  void SetValidationLoss(double loss) override;
  void SetRound(uint64_t round) override;
  // The run that this worker takes part in. What was set of the one before goes (round, losses, residual).
  void BeginRun(const std::string& name);
  // It takes part in none; what was set stays, to be read.
  void EndRun();
  void SetSession(SessionStanding standing);
  // Bytes at the socket (common/wire_size.h) of one message of `encoded_bytes`.
  void CountMessage(ByteDirection direction, ByteKind kind, uint64_t encoded_bytes);
  void CountReceipt(v1::Receipt::Result result);
  void CountSkippedRound();
  void CountHashMismatch();
  // The site's own certificate. The series is not there before the first call: without TLS there is none.
  void SetCertificateExpiry(absl::Time wall_time);
  void SetCertificateFiles(CertificateFilesState state);

  // In Prometheus' text format.
  std::string Text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_METRICS_H_
