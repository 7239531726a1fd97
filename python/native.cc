// The part of the Python package `tributary` that is not Python: a worker whose training a Python program does (worker/hosted_trainer.h).
//
// No thread of the worker ever takes Python's lock: the program's thread asks for work and answers, and waits without the lock.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/exit_codes.h"
#include "common/log.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "optim/weights_file.h"
#include "proto/config/reload.h"
#include "proto/config/yaml.h"
#include "tributary/v1/config.pb.h"
#include "worker/hosted_trainer.h"
#include "worker/start_options.h"
#include "worker/worker.h"

namespace tributary::python {
namespace {

namespace py = pybind11;

// (name, shape, frozen) of a parameter.
using Tensor = std::tuple<std::string, std::vector<int64_t>, bool>;

// Raises the class of tributary.errors that the exit code stands for.
[[noreturn]] void Raise(const absl::Status& status) {
  const py::object error =
      py::module_::import("tributary.errors").attr("of_code")(static_cast<int>(ExitCodeOf(status)), std::string(status.message()));
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw py::error_already_set();
}

void Check(const absl::Status& status) {
  if (!status.ok()) {
    Raise(status);
  }
}

template <typename T>
T Value(absl::StatusOr<T> value) {
  Check(value.status());
  return *std::move(value);
}

std::vector<optim::Block> BlocksOf(const std::vector<Tensor>& tensors) {
  std::vector<optim::Block> blocks;
  for (const auto& [name, shape, frozen] : tensors) {
    blocks.push_back({.name = name, .shape = shape, .frozen = frozen});
  }
  return blocks;
}

// Numbers that somebody else keeps, as long as `owner` lives. Read-only.
py::array_t<float> View(absl::Span<const float> values, const py::object& owner) {
  py::array_t<float> view(static_cast<py::ssize_t>(values.size()), values.data(), owner);
  py::detail::array_proxy(view.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return view;
}

worker::Environment EnvironmentHere() {
  const char* const tz = std::getenv("TZ");
  return {ProxyEnvironmentOf(environ), tz != nullptr ? std::make_optional<std::string>(tz) : std::nullopt};
}

// What a round is, for the program.
struct Round {
  std::string mode;
  bool sends_weights = false;
  uint64_t number = 0;
  uint64_t rounds = 0;
  float learning_rate = 0;
  uint32_t local_steps = 0;
  uint32_t batch_size = 0;
  float clip_norm = 0;
  uint64_t seed = 0;
};

class NativeWorker {
 public:
  NativeWorker(const std::string& file, const std::vector<Tensor>& tensors, bool knows_frozen, uint64_t samples, bool once, bool insecure,
               std::optional<double> connect_timeout)
      : process_(getpid()),
        work_(std::make_unique<worker::HostedWork>(
            BlocksOf(tensors), knows_frozen ? worker::HostedWork::Frozen::kKnown : worker::HostedWork::Frozen::kUnknown, samples)) {
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
    options.make_trainer = work_->Factory();
    py::gil_scoped_release release;
    absl::StatusOr<std::unique_ptr<worker::Worker>> made = worker::Worker::Create(std::move(options));
    py::gil_scoped_acquire acquire;
    worker_ = Value(std::move(made));
    std::promise<absl::Status> promise;
    outcome_ = promise.get_future();
    thread_ = std::thread([worker = worker_.get(), work = work_.get(), promise = std::move(promise)]() mutable {
      absl::Status status = worker->Run();
      work->Close(absl::CancelledError("the worker has ended"));
      promise.set_value(std::move(status));
    });
  }

  ~NativeWorker() {
    if (getpid() != process_) {
      // A child of fork() has none of the threads: what is the parent's stays as it is.
      static_cast<void>(work_.release());
      static_cast<void>(worker_.release());
      thread_.detach();
      return;
    }
    Stop("the program has ended");
    const py::gil_scoped_release release;
    Join().IgnoreError();  // nobody is left to be told
    worker_.reset();
  }

  // The next piece of work: None, if there is none within `patience` seconds.
  py::object Next(double patience) {
    if (getpid() != process_) {
      Raise(absl::FailedPreconditionError("this is a fork of the process in which the worker runs"));
    }
    if (taken_.has_value()) {
      Raise(absl::FailedPreconditionError("the last piece of work has no answer yet"));
    }
    {
      const py::gil_scoped_release release;
      taken_ = work_->Next(absl::Seconds(patience));
    }
    if (!taken_.has_value()) {
      return py::none();
    }
    layout_ = work_->layout();
    const auto* const train = std::get_if<worker::HostedWork::Train>(&*taken_);
    return train == nullptr ? py::cast("evaluate") : py::cast(RoundOf(*train));
  }

  // The parameters that the piece of work starts from, in the order of `layout`. Good until the answer.
  py::array_t<float> Theta() const {
    if (!taken_.has_value()) {
      Raise(absl::FailedPreconditionError("there is no work under way"));
    }
    return View(std::visit([](const auto& work) { return work.theta; }, *taken_), py::cast(this));
  }

  // [(name, shape, frozen)] of the run, in the order of theta.
  std::vector<Tensor> Layout() const {
    std::vector<Tensor> tensors;
    for (const optim::Block& block : layout_.blocks()) {
      tensors.emplace_back(block.name, block.shape, block.frozen);
    }
    return tensors;
  }

  // Writes one block of the direction: a gradient as it is; of weights after local steps, what they were before less what they are.
  void Put(size_t block, const py::array_t<float, py::array::c_style | py::array::forcecast>& values) {
    auto* const train = taken_.has_value() ? std::get_if<worker::HostedWork::Train>(&*taken_) : nullptr;
    if (train == nullptr) {
      Raise(absl::FailedPreconditionError("there is no round under way"));
    }
    if (block >= layout_.blocks().size() || values.size() != layout_.blocks()[block].size) {
      Raise(absl::InvalidArgumentError("not as many values as the tensor has"));
    }
    const optim::Block& place = layout_.blocks()[block];
    const bool weights = optim::DirectionOf(train->options->optimizer.mode) == optim::Direction::kPseudoGradient;
    for (int64_t i = 0; i < place.size; ++i) {
      const int64_t at = place.offset + i;
      train->direction[at] = weights ? train->theta[at] - values.data()[i] : values.data()[i];
    }
  }

  void Answer(double loss) { Give(loss); }
  void Skip(const std::string& why) { Give(absl::CancelledError(why)); }
  void EvaluateNothing() { Give(absl::UnimplementedError("this program evaluates nothing")); }

  bool Over() const { return outcome_.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }

  // After Over: raises what the worker ended with, if that was an error. Once.
  void Finish() {
    absl::Status outcome;
    {
      const py::gil_scoped_release release;
      outcome = Join();
      worker_.reset();
    }
    Check(outcome);
  }

  void Stop(const std::string& reason) {
    if (taken_.has_value()) {
      Skip(reason);
    }
    work_->Close(absl::CancelledError(reason));
    if (worker_ != nullptr) {
      worker_->RequestStop(reason);
    }
  }

 private:
  static Round RoundOf(const worker::HostedWork::Train& train) {
    const optim::OptimizerOptions& optimizer = train.options->optimizer;
    return {.mode = std::string(optim::ModeName(optimizer.mode)),
            .sends_weights = optim::DirectionOf(optimizer.mode) == optim::Direction::kPseudoGradient,
            .number = train.parameters.round,
            .rounds = optimizer.rounds,
            .learning_rate = train.parameters.learning_rate,
            .local_steps = train.parameters.local_steps,
            .batch_size = train.options->batch_size,
            .clip_norm = optimizer.clip_norm,
            .seed = train.options->seed};
  }

  void Give(absl::StatusOr<double> loss) {
    if (!taken_.has_value()) {
      Raise(absl::FailedPreconditionError("there is no work under way"));
    }
    taken_.reset();
    work_->Answer(std::move(loss));
  }

  absl::Status Join() {
    if (thread_.joinable()) {
      thread_.join();
    }
    return outcome_.valid() ? outcome_.get() : absl::OkStatus();
  }

  const pid_t process_;
  std::unique_ptr<worker::HostedWork> work_;
  std::unique_ptr<worker::Worker> worker_;
  std::future<absl::Status> outcome_;
  std::thread thread_;
  std::optional<worker::HostedWork::Work> taken_;
  optim::Layout layout_;  // of the run of the last piece of work
};

// A safetensors file of these tensors.
py::bytes EncodeWeights(const std::vector<Tensor>& tensors, const py::array_t<float, py::array::c_style | py::array::forcecast>& theta) {
  const optim::Layout layout = Value(optim::Layout::Create(BlocksOf(tensors)));
  return Value(optim::EncodeWeights(layout, absl::MakeConstSpan(theta.data(), static_cast<size_t>(theta.size())), {}));
}

// The values of a safetensors file, in the order of `tensors`.
py::array_t<float> ReadWeights(const std::string& path, const std::vector<Tensor>& tensors) {
  const optim::Layout layout = Value(optim::Layout::Create(BlocksOf(tensors)));
  const std::vector<float> theta = Value(optim::ReadWeights(path, layout));
  return py::array_t<float>(static_cast<py::ssize_t>(theta.size()), theta.data());
}

}  // namespace

PYBIND11_MODULE(_native, module) {
  module.attr("__version__") = TRIBUTARY_VERSION;
  py::class_<Round>(module, "Round")
      .def_readonly("mode", &Round::mode)
      .def_readonly("sends_weights", &Round::sends_weights)
      .def_readonly("number", &Round::number)
      .def_readonly("rounds", &Round::rounds)
      .def_readonly("learning_rate", &Round::learning_rate)
      .def_readonly("local_steps", &Round::local_steps)
      .def_readonly("batch_size", &Round::batch_size)
      .def_readonly("clip_norm", &Round::clip_norm)
      .def_readonly("seed", &Round::seed);
  py::class_<NativeWorker>(module, "Worker")
      .def(py::init<const std::string&, const std::vector<Tensor>&, bool, uint64_t, bool, bool, std::optional<double>>())
      .def("next", &NativeWorker::Next)
      .def("theta", &NativeWorker::Theta)
      .def("layout", &NativeWorker::Layout)
      .def("put", &NativeWorker::Put)
      .def("answer", &NativeWorker::Answer)
      .def("skip", &NativeWorker::Skip)
      .def("evaluate_nothing", &NativeWorker::EvaluateNothing)
      .def("over", &NativeWorker::Over)
      .def("finish", &NativeWorker::Finish)
      .def("stop", &NativeWorker::Stop);
  module.def("encode_weights", &EncodeWeights);
  module.def("read_weights", &ReadWeights);
}

}  // namespace tributary::python
