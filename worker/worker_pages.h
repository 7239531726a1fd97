// What a worker shows over HTTP: metrics to Prometheus, and its status page to people on this machine.
#ifndef TRIBUTARY_WORKER_WORKER_PAGES_H_
#define TRIBUTARY_WORKER_WORKER_PAGES_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/certificate_files.h"
#include "common/executor.h"
#include "common/page_server.h"
#include "worker/metrics.h"
#include "worker/quiet_hours.h"
#include "worker/status_page.h"
#include "worker/worker.h"

namespace tributary::worker {

// Thread-safe, but for CloseStatusPage beside itself.
class WorkerPages {
 public:
  struct Sources {
    const WorkerOptions* options = nullptr;
    const WorkerMetrics* metrics = nullptr;
    QuietHours hours;
    std::shared_ptr<CertificateFiles> certificates;  // null: plaintext
    SerialExecutor* executor = nullptr;
    // Fills in what the executor knows (configuration, session, run, notes); called there.
    std::function<void(WorkerStanding&)> tell;
  };

  // Starts those that the configuration asks for. What `sources` points to outlives them. InvalidArgument, exit code kUsage: an address.
  static absl::StatusOr<std::unique_ptr<WorkerPages>> Start(Sources sources);

  // While the executor still works, for the page waits for its answers.
  void CloseStatusPage() { status_.reset(); }

  // HOST:PORT; empty: there is none.
  const std::string& metrics_address() const { return metrics_address_; }
  const std::string& status_address() const { return status_address_; }

 private:
  explicit WorkerPages(Sources sources) : sources_(std::move(sources)) {}
  std::string StatusText() const;

  const Sources sources_;
  std::string metrics_address_;
  std::string status_address_;
  std::unique_ptr<PageServer> metrics_;
  std::unique_ptr<PageServer> status_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_WORKER_PAGES_H_
