// A model that can be run: loss, gradient and predictions at any theta. LibTorch stays behind this header.
#ifndef TRIBUTARY_WORKER_MODELS_MODEL_H_
#define TRIBUTARY_WORKER_MODELS_MODEL_H_

#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "optim/layout.h"
#include "optim/model_spec.h"
#include "worker/models/batch.h"

namespace tributary::worker {

// Stateless between calls: theta is an argument, never kept. Not thread-safe: one thread at a time.
// Errors of all methods: InvalidArgument, a span or batch that does not fit the model; Internal, what LibTorch threw, in one line;
// ResourceExhausted, out of memory.
class Model {
 public:
  // `threads` >= 1 compute one operation; the setting is the whole process's. Internal: `layout` does not have the blocks that the model
  // reads (optim/model_spec.h lists them).
  static absl::StatusOr<std::unique_ptr<Model>> Create(const optim::ModelSpec& spec, const optim::Layout& layout, int threads);
  virtual ~Model() = default;

  // Mean loss over the targets of `batch`: cross-entropy in nats, or what else the model learns from (optim/model_spec.h).
  virtual absl::StatusOr<double> Loss(absl::Span<const float> theta, const Batch& batch) = 0;

  // The same, and its gradient in `gradient` [layout.size()], which is overwritten.
  virtual absl::StatusOr<double> LossAndGradient(absl::Span<const float> theta, const Batch& batch, absl::Span<float> gradient) = 0;

  // The same as Loss, and calls `visit` with the Outputs of the same forward pass.
  virtual absl::StatusOr<double> LossAndOutputs(absl::Span<const float> theta, const Batch& batch,
                                                absl::FunctionRef<void(absl::Span<const float> outputs)> visit) = 0;

  // What the model says of each target, row-major: unnormalised log-probabilities [targets, classes], numbers [rows, 1], or of a diffusion
  // model the noise in each image [rows, channels, height, width]. The batch's targets are not read.
  virtual absl::StatusOr<std::vector<float>> Outputs(absl::Span<const float> theta, const Batch& batch) = 0;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_MODELS_MODEL_H_
