#include "python/host.h"

#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "optim/metric_kind.h"
#include "optim/options.h"

namespace tributary::python {
namespace {

Round RoundOf(const worker::HostedWork::Train& train) {
  const optim::OptimizerOptions& optimizer = train.options->optimizer;
  return {.mode = std::string(optim::ModeName(optimizer.mode)),
          .sends_weights = optim::DirectionOf(optimizer.mode) == optim::Direction::kPseudoGradient,
          .number = train.parameters.round,
          .rounds = optimizer.rounds,
          .learning_rate = train.parameters.learning_rate,
          .local_steps = train.parameters.local_steps,
          .local_time = optim::StepsAreTimed(optimizer) ? std::make_optional(absl::ToDoubleSeconds(optimizer.local_time)) : std::nullopt,
          .most_local_steps = train.options->most_local_steps,
          .batch_size = train.options->batch_size,
          .clip_norm = optimizer.clip_norm,
          .seed = train.options->seed};
}

}  // namespace

Host::Host(const std::vector<Tensor>& tensors, bool knows_frozen, uint64_t samples)
    : process_(getpid()),
      work_(std::make_unique<worker::HostedWork>(
          BlocksOf(tensors), knows_frozen ? worker::HostedWork::Frozen::kKnown : worker::HostedWork::Frozen::kUnknown, samples)) {}

Host::~Host() {
  if (InFork()) {
    static_cast<void>(work_.release());
  }
}

py::object Host::Next(double patience) {
  CheckProcess();
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

py::array_t<float> Host::Theta() const {
  if (!taken_.has_value()) {
    Raise(absl::FailedPreconditionError("there is no work under way"));
  }
  return View(std::visit([](const auto& work) { return work.theta; }, *taken_), py::cast(this));
}

worker::HostedWork::Train& Host::RoundUnderWay() {
  auto* const train = taken_.has_value() ? std::get_if<worker::HostedWork::Train>(&*taken_) : nullptr;
  if (train == nullptr) {
    Raise(absl::FailedPreconditionError("there is no round under way"));
  }
  return *train;
}

void Host::TookSteps(uint32_t steps) {
  *RoundUnderWay().local_steps = steps;
}

void Host::Put(size_t block, const Array& values) {
  const worker::HostedWork::Train& train = RoundUnderWay();
  const absl::Span<float> place = PlaceOf(layout_, block, values, train.direction);
  const float* const before = train.theta.data() + (place.data() - train.direction.data());
  const bool weights = optim::DirectionOf(train.options->optimizer.mode) == optim::Direction::kPseudoGradient;
  for (size_t i = 0; i < place.size(); ++i) {
    place[i] = weights ? before[i] - values.data()[i] : values.data()[i];
  }
}

void Host::Stop(const std::string& reason) {
  if (InFork()) {
    return;
  }
  if (taken_.has_value()) {
    Skip(reason);
  }
  work_->Close(absl::CancelledError(reason));
}

void Host::Answer(double loss, const std::map<std::string, double>& metrics) {
  for (const auto& [name, value] : metrics) {
    if (!optim::MetricNamed(name).has_value()) {
      const auto append = [](std::string* out, const optim::MetricTraits& metric) { absl::StrAppend(out, metric.name); };
      Raise(absl::InvalidArgumentError(
          absl::StrCat("'", name, "' is no metric of a run; there are ", absl::StrJoin(optim::kMetrics, ", ", append))));
    }
  }
  Give(worker::Evaluation{loss, metrics});
}

void Host::CheckProcess() const {
  if (InFork()) {
    Raise(absl::FailedPreconditionError("this is a fork of the process in which the worker runs"));
  }
}

void Host::Give(absl::StatusOr<worker::Evaluation> answer) {
  CheckProcess();
  if (!taken_.has_value()) {
    Raise(absl::FailedPreconditionError("there is no work under way"));
  }
  taken_.reset();
  work_->Answer(std::move(answer));
}

void AddHost(py::module_& module) {
  py::class_<Round>(module, "Round")
      .def_readonly("mode", &Round::mode)
      .def_readonly("sends_weights", &Round::sends_weights)
      .def_readonly("number", &Round::number)
      .def_readonly("rounds", &Round::rounds)
      .def_readonly("learning_rate", &Round::learning_rate)
      .def_readonly("local_steps", &Round::local_steps)
      .def_readonly("local_time", &Round::local_time)
      .def_readonly("most_local_steps", &Round::most_local_steps)
      .def_readonly("batch_size", &Round::batch_size)
      .def_readonly("clip_norm", &Round::clip_norm)
      .def_readonly("seed", &Round::seed);
  py::class_<Host, std::shared_ptr<Host>>(module, "Host")
      .def("next", &Host::Next)
      .def("theta", &Host::Theta)
      .def("layout", &Host::Layout)
      .def("put", &Host::Put)
      .def("took_steps", &Host::TookSteps)
      .def("answer", &Host::Answer, py::arg("loss"), py::arg("metrics") = std::map<std::string, double>())
      .def("skip", &Host::Skip)
      .def("evaluate_nothing", &Host::EvaluateNothing)
      .def("over", &Host::Over)
      .def("finish", &Host::Finish)
      .def("stop", &Host::Stop);
}

}  // namespace tributary::python
