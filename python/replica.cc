#include "python/replica.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/cpu_limits.h"
#include "common/status_macros.h"
#include "optim/apply.h"
#include "optim/snapshot.h"
#include "optim/state_hash.h"
#include "proto/config/run_options.h"
#include "proto/config/yaml.h"
#include "tributary/v1/run.pb.h"

namespace tributary::python {
namespace {

absl::StatusOr<optim::OptimizerOptions> OptionsOf(const std::string& optimizer) {
  v1::RunSpec spec;
  spec.set_rounds(1);  // of a schedule, which is not read here
  TRIBUTARY_RETURN_IF_ERROR(ParseYaml(optimizer, "optimizer", spec.mutable_optimizer()));
  TRIBUTARY_ASSIGN_OR_RETURN(optim::OptimizerOptions options, OptimizerOptionsOf(spec));
  if (optim::DirectionOf(options.mode) != optim::Direction::kGradient) {
    return absl::InvalidArgumentError(absl::StrCat("mode `", optim::ModeName(options.mode),
                                                   "` takes local steps of an optimiser of yours; here a mode is needed that sends "
                                                   "gradients: allreduce, demo, distro, signsgd"));
  }
  options.norm_bound = 0;  // nobody in one's own cluster is bounded
  TRIBUTARY_RETURN_IF_ERROR(optim::Validate(options));
  return options;
}

}  // namespace

Replica::Replica(const std::string& optimizer, const std::vector<Tensor>& tensors, const Array& theta, int threads)
    : options_(Value(OptionsOf(optimizer))),
      layout_(Value(optim::Layout::Create(BlocksOf(tensors)))),
      threads_(threads > 0 ? threads : UsableCores()),
      encoder_(Value(optim::MakeUpdateEncoder(options_, layout_, threads_))),
      aggregator_(Value(optim::MakeAggregator(options_, layout_))),
      state_(Value(optim::InitialState(options_, layout_, {theta.data(), theta.data() + theta.size()}))),
      gradient_(layout_.size()) {}

py::bytes Replica::Encode(float learning_rate) {
  absl::StatusOr<std::string> update;
  {
    const py::gil_scoped_release release;
    encoder_->Settle(optim::UpdateFate::kNotIncluded);  // of a step that came to nothing
    update = encoder_->Encode(Next(learning_rate), gradient_);
  }
  if (absl::IsFailedPrecondition(update.status())) {
    return "";
  }
  return Value(std::move(update));
}

absl::Status Replica::Sum(const std::vector<std::string>& updates) {
  std::vector<const std::string*> added;
  for (const std::string& update : updates) {
    const absl::Status status = update.empty() ? absl::OkStatus() : aggregator_->Add(update);
    if (!status.ok()) {
      for (const std::string* const before : added) {
        TRIBUTARY_RETURN_IF_ERROR(aggregator_->Remove(*before));
      }
      return status;
    }
    if (!update.empty()) {
      added.push_back(&update);
    }
  }
  return absl::OkStatus();
}

void Replica::Step(float learning_rate, const std::vector<std::string>& updates, size_t own) {
  const auto step = [&]() -> absl::Status {
    TRIBUTARY_RETURN_IF_ERROR(aggregator_->BeginRound(Next(learning_rate), static_cast<uint32_t>(updates.size())));
    TRIBUTARY_RETURN_IF_ERROR(Sum(updates));
    TRIBUTARY_ASSIGN_OR_RETURN(const optim::Commit commit, aggregator_->Finish());
    TRIBUTARY_RETURN_IF_ERROR(optim::Apply(options_, layout_, commit, state_, threads_));
    encoder_->Settle(updates[own].empty() ? optim::UpdateFate::kNotIncluded : optim::UpdateFate::kIncluded);
    return absl::OkStatus();
  };
  if (own >= updates.size()) {
    Raise(absl::InvalidArgumentError("this process's own update is not among the updates"));
  }
  absl::Status status;
  {
    const py::gil_scoped_release release;
    status = step();
  }
  Check(status);
}

std::string Replica::StateHash() const {
  const py::gil_scoped_release release;
  return DigestHex(optim::StateHash(layout_, state_, threads_));
}

std::vector<py::bytes> Replica::Save() const {
  return {optim::EncodeSnapshot(layout_, state_), aggregator_->SaveState(), encoder_->SaveState()};
}

void Replica::Restore(const std::string& state, const std::string& sums, const std::string& residual) {
  optim::ReplicaState restored = Value(optim::DecodeSnapshot(state, layout_, optim::SlotCount(options_.mode)));
  std::unique_ptr<optim::UpdateEncoder> encoder = Value(optim::MakeUpdateEncoder(options_, layout_, threads_));
  if (!residual.empty()) {
    Check(encoder->RestoreState(residual));
  }
  Check(aggregator_->RestoreState(sums));
  encoder_ = std::move(encoder);
  // Into the array that Theta() shows.
  std::copy(restored.theta.begin(), restored.theta.end(), state_.theta.begin());
  restored.theta = std::move(state_.theta);
  state_ = std::move(restored);
}

void AddReplica(py::module_& module) {
  py::class_<Replica>(module, "Replica")
      .def(py::init<const std::string&, const std::vector<Tensor>&, const Array&, int>())
      .def("put", &Replica::Put)
      .def("encode", &Replica::Encode)
      .def("step", &Replica::Step)
      .def("theta", [](const py::object& self) { return self.cast<const Replica&>().Theta(self); })
      .def("state_hash", &Replica::StateHash)
      .def("residual_norm", &Replica::ResidualNorm)
      .def("save", &Replica::Save)
      .def("restore", &Replica::Restore)
      .def_property_readonly("round", &Replica::round);
}

}  // namespace tributary::python
