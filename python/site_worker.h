// A site's worker whose training a Python program does: `tributary.join`.
#ifndef TRIBUTARY_PYTHON_SITE_WORKER_H_
#define TRIBUTARY_PYTHON_SITE_WORKER_H_

#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "python/host.h"
#include "worker/worker.h"

namespace tributary::python {

// One thread uses it, with Python's lock.
class SiteWorker final : public Host {
 public:
  // Raises what is wrong with worker.yaml, `file`. `once`: it ends with its first run.
  SiteWorker(const std::string& file, const std::vector<Tensor>& tensors, bool knows_frozen, uint64_t samples, bool once, bool insecure,
             std::optional<double> connect_timeout);
  ~SiteWorker() override;

  bool Over() const override;
  void Finish() override;
  void Stop(const std::string& reason) override;

 private:
  absl::Status Join();

  std::unique_ptr<worker::Worker> worker_;
  std::future<absl::Status> outcome_;
  std::thread thread_;
};

void AddSiteWorker(py::module_& module);

}  // namespace tributary::python

#endif  // TRIBUTARY_PYTHON_SITE_WORKER_H_
