#include "python/site_worker.h"

#include <chrono>
#include <cstdlib>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/log.h"
#include "common/proxy.h"
#include "proto/config/reload.h"
#include "proto/config/yaml.h"
#include "tributary/v1/config.pb.h"
#include "worker/start_options.h"

namespace tributary::python {
namespace {

worker::Environment EnvironmentHere() {
  const char* const tz = std::getenv("TZ");
  return {ProxyEnvironmentOf(environ), tz != nullptr ? std::make_optional<std::string>(tz) : std::nullopt};
}

}  // namespace

SiteWorker::SiteWorker(const std::string& file, const std::vector<Tensor>& tensors, bool knows_frozen, uint64_t samples, bool once,
                       bool insecure, std::optional<double> connect_timeout)
    : Host(tensors, knows_frozen, samples) {
  v1::WorkerConfig config;
  Check(LoadYaml(file, &config));
  SetLogFormat(LogFormatOf(config.log_format()));
  SetLogLevel(LogLevelOf(config.log_level()));
  const worker::Security security = {.insecure = insecure};
  Check(worker::CheckConnection(config, file, security));
  worker::WorkerOptions options = Value(worker::StartOptionsOf(std::move(config), file, security, EnvironmentHere()));
  options.once = once;
  if (connect_timeout.has_value()) {
    options.connect_timeout = absl::Seconds(*connect_timeout);
  }
  options.make_trainer = work().Factory();
  py::gil_scoped_release release;
  absl::StatusOr<std::unique_ptr<worker::Worker>> made = worker::Worker::Create(std::move(options));
  py::gil_scoped_acquire acquire;
  worker_ = Value(std::move(made));
  std::promise<absl::Status> promise;
  outcome_ = promise.get_future();
  thread_ = std::thread([worker = worker_.get(), work = &work(), promise = std::move(promise)]() mutable {
    absl::Status status = worker->Run();
    work->Close(absl::CancelledError("the worker has ended"));
    promise.set_value(std::move(status));
  });
}

SiteWorker::~SiteWorker() {
  if (InFork()) {
    static_cast<void>(worker_.release());
    if (thread_.joinable()) {
      thread_.detach();
    }
    return;
  }
  Stop("the program has ended");
  const py::gil_scoped_release release;
  Join().IgnoreError();  // nobody is left to be told
  worker_.reset();
}

bool SiteWorker::Over() const {
  return outcome_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

void SiteWorker::Finish() {
  if (InFork()) {
    return;
  }
  absl::Status outcome;
  {
    const py::gil_scoped_release release;
    outcome = Join();
    worker_.reset();
  }
  Check(outcome);
}

void SiteWorker::Stop(const std::string& reason) {
  if (InFork()) {
    return;
  }
  Host::Stop(reason);
  if (worker_ != nullptr) {
    worker_->RequestStop(reason);
  }
}

absl::Status SiteWorker::Join() {
  if (thread_.joinable()) {
    thread_.join();
  }
  return outcome_.valid() ? outcome_.get() : absl::OkStatus();
}

void AddSiteWorker(py::module_& module) {
  py::class_<SiteWorker, Host, std::shared_ptr<SiteWorker>>(module, "Worker")
      .def(py::init<const std::string&, const std::vector<Tensor>&, bool, uint64_t, bool, bool, std::optional<double>>());
}

}  // namespace tributary::python
