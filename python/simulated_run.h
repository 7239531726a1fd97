// A run and its sites in one process: `tributary.simulate`. The federation is sim/'s, and has a thread of its own.
#ifndef TRIBUTARY_PYTHON_SIMULATED_RUN_H_
#define TRIBUTARY_PYTHON_SIMULATED_RUN_H_

#include <unistd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "python/host.h"
#include "sim/research.h"
#include "tributary/v1/run.pb.h"

namespace tributary::python {

// Used with Python's lock, by the program's threads. Held by its sites.
class SimulatedRun final : public std::enable_shared_from_this<SimulatedRun> {
 public:
  class Site;

  // `text`: a run, as YAML or JSON; `name` stands for it in messages. `weights_dir`: where a file of initial weights lies. Raises what is
  // wrong with it.
  SimulatedRun(const std::string& text, const std::string& name, const std::string& weights_dir);
  ~SimulatedRun();

  // Before Start, each site once.
  std::shared_ptr<Site> Add(const std::string& name, const std::vector<Tensor>& tensors, bool knows_frozen, uint64_t samples);
  void Start();
  // Whether it is over within so many seconds.
  bool Wait(double patience);
  bool Over() const;
  // Ends it early. Whether it is this that ends it.
  bool Stop(const std::string& reason);
  // After Over: raises why it ended, if not with a finished run.
  void Finish() const;

  // After Finish. JSON as the command line writes it.
  std::string Status() const;
  std::string History() const;
  py::bytes Model() const;

 private:
  // As Host::InFork.
  bool InFork() const { return getpid() != process_; }
  absl::Status Interrupted() const;
  absl::Status Outcome() const;

  const pid_t process_;
  sim::ResearchOptions options_;
  std::map<std::string, std::shared_ptr<Site>> sites_;
  std::thread thread_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status interrupted_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::StatusOr<sim::ResearchResult>> result_ ABSL_GUARDED_BY(mutex_);
};

void AddSimulatedRun(py::module_& module);

}  // namespace tributary::python

#endif  // TRIBUTARY_PYTHON_SIMULATED_RUN_H_
