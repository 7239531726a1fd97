// The worker: engine, session, training thread and pages put together.
//
// Two threads of its own: one runs the engine and everything from the network, in order; the other trains, encodes and applies, one piece
// of work at a time, so that heartbeats go on whatever a step takes.
#ifndef TRIBUTARY_WORKER_WORKER_H_
#define TRIBUTARY_WORKER_WORKER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/proxy.h"
#include "optim/encoder.h"
#include "tributary/v1/config.pb.h"
#include "worker/metrics.h"
#include "worker/training_run.h"

namespace tributary::worker {

struct WorkerOptions {
  v1::WorkerConfig config;
  std::string software_version;
  // End after the first run that the worker took part in, or when consent refuses a run.
  bool once = false;
  // Plaintext; config.tls is not used. The caller has checked that this is allowed for config.coordinator.
  bool insecure = false;
  // How long the first connection may take.
  absl::Duration connect_timeout = absl::InfiniteDuration();
  // First wait between two attempts to connect; they double up to config.max_backoff.
  absl::Duration min_backoff = absl::Milliseconds(500);
  // Of a transfer that moves nothing.
  absl::Duration progress_timeout = absl::Seconds(60);
  // Data in one frame of an upload.
  uint64_t frame_bytes = 256 << 10;
  TrainerFactory make_trainer;
  EncoderFactory make_encoder = optim::MakeUpdateEncoder;
  Clock* clock = &Clock::Real();
  // Of config.quiet_hours; not looked at without them.
  absl::StatusOr<absl::TimeZone> time_zone = absl::UTCTimeZone();
  // To config.coordinator, chosen by ChooseRoute.
  Route route;
  // Uniform in [0, 1), for backoff; called on one thread.
  std::function<double()> random;
};

class Worker {
 public:
  // Takes config.state_dir for itself (it is made if need be), starts the metrics and status pages, connects to nothing yet.
  // InvalidArgument: a field of the configuration, or quiet hours without a time zone. Unauthenticated: as of LoadCertificatePair. Exit
  // code kStorage: the folder cannot be written, or another worker uses it. Errors of PageServer::Start.
  static absl::StatusOr<std::unique_ptr<Worker>> Create(WorkerOptions options);
  // Waits for the piece of work under way on the training thread.
  ~Worker();

  // Works until it is told to stop or has a reason to end; ExitCodeOf(status) is the program's. Once.
  absl::Status Run();

  // Thread-safe. Takes over from `config`, which was read again, what can change while it works: certificate files and consent. A run that
  // the new consent does not cover is left; one that was refused before is asked for again. Logs what changed, and which other keys need a
  // restart. An error changes nothing: a field or a certificate that Create would refuse.
  absl::Status Reload(const v1::WorkerConfig& config);

  // Thread-safe. Tells the coordinator, and has Run return OK.
  void RequestStop(const std::string& reason);

  // Whether the training thread still works. After Run, which has waited some time for it: a program that must end now need not wait
  // longer, for what is saved is whole at any moment.
  bool training() const;

  // host:port of the metrics page; empty: none.
  std::string metrics_address() const;
  // The same of the status page.
  std::string status_address() const;
  const WorkerMetrics& metrics() const;

 private:
  class Impl;
  explicit Worker(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_WORKER_H_
