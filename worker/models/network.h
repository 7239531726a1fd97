// Between model.cc and the forward passes of the models. Includes LibTorch: only for the .cc files of this folder.
#ifndef TRIBUTARY_WORKER_MODELS_NETWORK_H_
#define TRIBUTARY_WORKER_MODELS_NETWORK_H_

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "optim/layout.h"
#include "optim/model_spec.h"
#include "worker/models/batch.h"

namespace tributary::worker {

// A forward pass. Stateless; parameters come in the order of the layout.
class Network {
 public:
  virtual ~Network() = default;
  // InvalidArgument: `batch` does not have the sizes that this model reads (targets apart).
  virtual absl::Status CheckInputs(const Batch& batch) const = 0;
  // What the model says of each target: unnormalised log-probabilities [targets, classes], numbers [rows, 1], or the noise in each image
  // [rows, channels, height, width]. May throw what LibTorch throws.
  virtual at::Tensor Outputs(absl::Span<const at::Tensor> parameters, const Batch& batch) const = 0;
  // Scalar: mean cross-entropy of `outputs` at the batch's targets, in nats, or what else the model learns from.
  virtual at::Tensor MeanLoss(const at::Tensor& outputs, const Batch& batch) const;
  // InvalidArgument: `batch` does not have the targets, or the weights, that this loss reads.
  virtual absl::Status CheckTargets(const Batch& batch) const;

 protected:
  // InvalidArgument: `batch` is not of at least one image of this size.
  static absl::Status CheckImages(const Batch& batch, int64_t channels, int64_t height, int64_t width);
  static absl::Status CheckCount(absl::string_view name, size_t has, size_t needs, const Batch& batch);
  // The mean of `losses` [targets], each by its weight in the batch.
  static at::Tensor WeightedMean(const at::Tensor& losses, const Batch& batch);
};

// One for each kind of model (optim::ModelSpec), in a file of its own.
absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::GptModel& model, const optim::Layout& layout);
absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::MlpModel& model, const optim::Layout& layout);
absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::LlamaModel& model, const optim::Layout& layout);
absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::ConvNetModel& model, const optim::Layout& layout);
absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::DdpmModel& model, const optim::Layout& layout);
// InvalidArgument: this program cannot compute it.
absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::CustomModel& model, const optim::Layout& layout);

// Hands out the places of a layout's blocks by name and shape, and notes what did not fit, so that a network reads as a list of its
// parameters.
class BlockFinder {
 public:
  explicit BlockFinder(const optim::Layout& layout) : layout_(layout) {}
  // The place of block `name` in the layout; 0 if it is not there with this shape, and then status() says so.
  size_t Find(const std::string& name, const std::vector<int64_t>& shape);
  // Internal: a block was missing or of another shape, or the layout has blocks that were not asked for.
  absl::Status status() const;

 private:
  const optim::Layout& layout_;
  size_t found_ = 0;
  absl::Status status_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_MODELS_NETWORK_H_
