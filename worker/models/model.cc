#include "worker/models/model.h"

#include <ATen/Parallel.h>
#include <ATen/core/Reduction.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/from_blob.h>
#include <dlfcn.h>

#include <exception>
#include <mutex>
#include <new>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/status_macros.h"
#include "worker/models/flat_parameters.h"
#include "worker/models/network.h"

namespace tributary::worker {
namespace {

// Runs `work`, which returns a StatusOr, and turns what LibTorch throws into a status.
template <typename Work>
auto WithoutExceptions(Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory in LibTorch: give the worker more memory, or the run a smaller batch or model");
  } catch (const std::exception& error) {
    // c10::Error carries a stack trace after its first line.
    const absl::string_view what = error.what();
    return absl::InternalError(absl::StrCat("LibTorch: ", what.substr(0, what.find('\n'))));
  }
}

// Where OpenBLAS has a pool of its own (Debian's libopenblas0-pthread, which wins over -openmp where both are installed), LibTorch
// does not tell it how many threads it may have: it would take all cores.
void SetOpenBlasThreads(int threads) {
  constexpr int kPthreads = 1;  // what OpenBLAS answers where it has such a pool
  const auto get_parallel = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "openblas_get_parallel"));
  const auto set_num_threads = reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "openblas_set_num_threads"));
  if (get_parallel != nullptr && set_num_threads != nullptr && get_parallel() == kPthreads) {
    set_num_threads(threads);
  }
}

class TorchModel final : public Model {
 public:
  TorchModel(const optim::Layout& layout, std::unique_ptr<Network> network, int threads)
      : layout_(layout), network_(std::move(network)), threads_(threads) {}

  absl::StatusOr<double> Loss(absl::Span<const float> theta, const Batch& batch) override {
    TRIBUTARY_RETURN_IF_ERROR(Check(theta, batch));
    return WithoutExceptions([&]() -> absl::StatusOr<double> {
      at::set_num_threads(threads_);
      const at::NoGradGuard no_grad;
      return MeanLoss(ViewParameters(layout_, theta), batch).item<double>();
    });
  }

  absl::StatusOr<double> LossAndGradient(absl::Span<const float> theta, const Batch& batch, absl::Span<float> gradient) override {
    TRIBUTARY_RETURN_IF_ERROR(Check(theta, batch));
    TRIBUTARY_RETURN_IF_ERROR(CheckSize("gradient", gradient.size()));
    return WithoutExceptions([&]() -> absl::StatusOr<double> {
      at::set_num_threads(threads_);
      const at::AutoGradMode with_grad(true);
      const at::Tensor loss = MeanLoss(ViewParametersWithGradients(layout_, theta, gradient), batch);
      loss.backward();
      return loss.item<double>();
    });
  }

  absl::StatusOr<double> LossAndOutputs(absl::Span<const float> theta, const Batch& batch,
                                        absl::FunctionRef<void(absl::Span<const float> outputs)> visit) override {
    TRIBUTARY_RETURN_IF_ERROR(Check(theta, batch));
    return WithoutExceptions([&]() -> absl::StatusOr<double> {
      at::set_num_threads(threads_);
      const at::NoGradGuard no_grad;
      const at::Tensor outputs = network_->Outputs(ViewParameters(layout_, theta), batch).contiguous();
      visit(absl::MakeConstSpan(outputs.data_ptr<float>(), static_cast<size_t>(outputs.numel())));
      return network_->MeanLoss(outputs, batch).item<double>();
    });
  }

  absl::StatusOr<std::vector<float>> Outputs(absl::Span<const float> theta, const Batch& batch) override {
    TRIBUTARY_RETURN_IF_ERROR(CheckSize("theta", theta.size()));
    TRIBUTARY_RETURN_IF_ERROR(network_->CheckInputs(batch));
    return WithoutExceptions([&]() -> absl::StatusOr<std::vector<float>> {
      at::set_num_threads(threads_);
      const at::NoGradGuard no_grad;
      const at::Tensor outputs = network_->Outputs(ViewParameters(layout_, theta), batch).contiguous();
      const float* values = outputs.data_ptr<float>();
      return std::vector<float>(values, values + outputs.numel());
    });
  }

 private:
  absl::Status CheckSize(absl::string_view name, size_t size) const {
    if (static_cast<int64_t>(size) == layout_.size()) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(absl::StrCat(name, " has ", size, " values where the layout has ", layout_.size()));
  }

  absl::Status Check(absl::Span<const float> theta, const Batch& batch) const {
    TRIBUTARY_RETURN_IF_ERROR(CheckSize("theta", theta.size()));
    TRIBUTARY_RETURN_IF_ERROR(network_->CheckInputs(batch));
    return network_->CheckTargets(batch);
  }

  at::Tensor MeanLoss(const std::vector<at::Tensor>& parameters, const Batch& batch) const {
    return network_->MeanLoss(network_->Outputs(parameters, batch), batch);
  }

  const optim::Layout layout_;
  const std::unique_ptr<Network> network_;
  // Set before every call and not once: OpenMP keeps the number per calling thread.
  const int threads_;
};

}  // namespace

absl::Status Network::CheckTargets(const Batch& batch) const {
  return CheckCount("targets", batch.targets.size(), batch.tokens.empty() ? static_cast<size_t>(batch.rows) : batch.tokens.size(), batch);
}

absl::Status Network::CheckCount(absl::string_view name, size_t has, size_t needs, const Batch& batch) {
  if (has != needs || (!batch.weights.empty() && batch.weights.size() != needs)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the batch has ", has, " ", name, " and ", batch.weights.size(), " weights where it needs ", needs));
  }
  return absl::OkStatus();
}

absl::Status Network::CheckImages(const Batch& batch, int64_t channels, int64_t height, int64_t width) {
  const int64_t image = channels * height * width;
  if (batch.rows < 1 || static_cast<int64_t>(batch.features.size()) / image != batch.rows ||
      static_cast<int64_t>(batch.features.size()) % image != 0) {
    return absl::InvalidArgumentError(absl::StrCat("a batch of ", batch.rows, " images and ", batch.features.size(),
                                                   " values does not fit a model of images of ", channels, " x ", height, " x ", width));
  }
  return absl::OkStatus();
}

at::Tensor Network::MeanLoss(const at::Tensor& outputs, const Batch& batch) const {
  const at::Tensor targets =
      at::from_blob(const_cast<int64_t*>(batch.targets.data()), {static_cast<int64_t>(batch.targets.size())}, at::kLong);
  if (batch.weights.empty()) {
    return at::cross_entropy_loss(outputs, targets);
  }
  return WeightedMean(at::cross_entropy_loss(outputs, targets, {}, at::Reduction::None), batch);
}

at::Tensor Network::WeightedMean(const at::Tensor& losses, const Batch& batch) {
  if (batch.weights.empty()) {
    return losses.mean();
  }
  const at::Tensor weights =
      at::from_blob(const_cast<float*>(batch.weights.data()), {static_cast<int64_t>(batch.weights.size())}, at::kFloat);
  return losses.mul(weights).sum().div(weights.sum());
}

size_t BlockFinder::Find(const std::string& name, const std::vector<int64_t>& shape) {
  const absl::Span<const optim::Block> blocks = layout_.blocks();
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].name != name) {
      continue;
    }
    if (blocks[i].shape != shape) {
      status_.Update(absl::InternalError(absl::StrCat("block ", name, " has shape [", absl::StrJoin(blocks[i].shape, ", "),
                                                      "] in the layout and [", absl::StrJoin(shape, ", "), "] in the model")));
    }
    ++found_;
    return i;
  }
  status_.Update(absl::InternalError(absl::StrCat("the layout has no block ", name, ", which the model reads")));
  return 0;
}

absl::Status BlockFinder::status() const {
  if (!status_.ok() || found_ == layout_.blocks().size()) {
    return status_;
  }
  return absl::InternalError(absl::StrCat("the layout has ", layout_.blocks().size(), " blocks and the model reads ", found_));
}

absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::CustomModel&, const optim::Layout&) {
  return absl::InvalidArgumentError("a custom model is computed by a program of the site's own, with the Python package `tributary`");
}

absl::StatusOr<std::unique_ptr<Model>> Model::Create(const optim::ModelSpec& spec, const optim::Layout& layout, int threads) {
  if (threads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("a model needs at least 1 thread, not ", threads));
  }
  return WithoutExceptions([&]() -> absl::StatusOr<std::unique_ptr<Model>> {
    // LibTorch allows this once in a process, before its first parallel work between operations; we have none of that.
    static std::once_flag once;
    std::call_once(once, [] { at::set_num_interop_threads(1); });
    at::set_num_threads(threads);
    SetOpenBlasThreads(threads);
    TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Network> network,
                               std::visit([&](const auto& kind) { return MakeNetwork(kind, layout); }, spec));
    return std::make_unique<TorchModel>(layout, std::move(network), threads);
  });
}

}  // namespace tributary::worker
