#include "python/simulated_run.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/output.h"
#include "common/exit_codes.h"
#include "common/log_silence.h"
#include "common/names.h"
#include "proto/config/yaml.h"

namespace tributary::python {

class SimulatedRun::Site final : public Host {
 public:
  Site(std::weak_ptr<SimulatedRun> run, const std::vector<Tensor>& tensors, bool knows_frozen, uint64_t samples)
      : Host(tensors, knows_frozen, samples), run_(std::move(run)) {}

  bool Over() const override {
    const std::shared_ptr<SimulatedRun> run = run_.lock();
    return run == nullptr || run->Over();
  }
  // A site that leaves early has nothing to be told: the others go on.
  void Finish() override {
    const std::shared_ptr<SimulatedRun> run = InFork() ? nullptr : run_.lock();
    if (run != nullptr && run->Over()) {
      run->Finish();
    }
  }

  worker::TrainerFactory Factory() { return work().Factory(); }
  void Close(const absl::Status& why) { work().Close(why); }

 private:
  const std::weak_ptr<SimulatedRun> run_;
};

SimulatedRun::SimulatedRun(const std::string& text, const std::string& name, const std::string& weights_dir) : process_(getpid()) {
  Check(ParseYaml(text, name, &options_.run));
  options_.run_name = name;
  options_.initial_weights_dir = weights_dir;
}

SimulatedRun::~SimulatedRun() {
  if (InFork()) {
    if (thread_.joinable()) {
      thread_.detach();  // the child has no such thread
    }
    return;
  }
  Stop("the program has ended");
  const py::gil_scoped_release release;
  if (thread_.joinable()) {
    thread_.join();
  }
}

std::shared_ptr<SimulatedRun::Site> SimulatedRun::Add(const std::string& name, const std::vector<Tensor>& tensors, bool knows_frozen,
                                                      uint64_t samples) {
  if (!IsName(name)) {
    Raise(absl::InvalidArgumentError(absl::StrCat("'", name, "' is no name of a site: lower-case letters, digits and hyphens")));
  }
  if (thread_.joinable() || sites_.contains(name)) {
    Raise(absl::InvalidArgumentError(absl::StrCat("site ", name, " has joined this simulation already; each joins once")));
  }
  const auto site = std::make_shared<Site>(weak_from_this(), tensors, knows_frozen, samples);
  sites_[name] = site;
  options_.sites.push_back({name, ""});
  return site;
}

void SimulatedRun::Start() {
  options_.make_trainer = [this](const worker::TrainerOptions& options, const optim::Layout& layout) {
    return sites_.at(options.site)->Factory()(options, layout);
  };
  options_.interrupted = [this] { return Interrupted(); };
  thread_ = std::thread([this] {
    absl::StatusOr<sim::ResearchResult> result = [this] {
      const LogSilence silence;  // its lines would be of another time
      return sim::RunResearch(options_);
    }();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      result_ = std::move(result);
      changed_.notify_all();
    }
    for (const auto& [name, site] : sites_) {
      site->Close(absl::CancelledError("the simulation has ended"));
    }
  });
}

bool SimulatedRun::Wait(double patience) {
  const py::gil_scoped_release release;
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, std::chrono::duration<double>(patience), [this] { return result_.has_value(); });
}

bool SimulatedRun::Over() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return result_.has_value();
}

bool SimulatedRun::Stop(const std::string& reason) {
  if (InFork()) {
    return false;
  }
  bool first = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    first = interrupted_.ok() && !result_.has_value();
    interrupted_.Update(WithExitCode(absl::CancelledError(reason), ExitCode::kRunFailed));
    if (!thread_.joinable() && !result_.has_value()) {
      result_ = interrupted_;
    }
  }
  for (const auto& [name, site] : sites_) {
    site->Close(absl::CancelledError(reason));
  }
  return first;
}

absl::Status SimulatedRun::Interrupted() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return interrupted_;
}

absl::Status SimulatedRun::Outcome() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!result_.has_value()) {
    return absl::FailedPreconditionError("the simulation is not over");
  }
  if (!result_->ok()) {
    return result_->status();
  }
  const v1::RunStatus& status = (*result_)->status;
  if (status.state() != v1::FINISHED) {
    return WithExitCode(absl::AbortedError(absl::StrCat("the run ended as ", cli::FormatState(status.state()), ": ", status.reason())),
                        ExitCode::kRunFailed);
  }
  return absl::OkStatus();
}

void SimulatedRun::Finish() const {
  Check(Outcome());
}

std::string SimulatedRun::Status() const {
  Finish();
  const std::lock_guard<std::mutex> lock(mutex_);
  return cli::ToJson((*result_)->status);
}

std::string SimulatedRun::History() const {
  Finish();
  const std::lock_guard<std::mutex> lock(mutex_);
  return cli::ToJson((*result_)->history);
}

py::bytes SimulatedRun::Model() const {
  Finish();
  const std::lock_guard<std::mutex> lock(mutex_);
  return (*result_)->model;
}

void AddSimulatedRun(py::module_& module) {
  py::class_<SimulatedRun::Site, Host, std::shared_ptr<SimulatedRun::Site>>(module, "SimulatedSite");
  py::class_<SimulatedRun, std::shared_ptr<SimulatedRun>>(module, "SimulatedRun")
      .def(py::init<const std::string&, const std::string&, const std::string&>())
      .def("add", &SimulatedRun::Add)
      .def("start", &SimulatedRun::Start)
      .def("wait", &SimulatedRun::Wait)
      .def("stop", &SimulatedRun::Stop)
      .def("finish", &SimulatedRun::Finish)
      .def("status", &SimulatedRun::Status)
      .def("history", &SimulatedRun::History)
      .def("model", &SimulatedRun::Model);
}

}  // namespace tributary::python
