// Multi-layer perceptron with GELU between its linear layers.
#include <ATen/ops/from_blob.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/models/network.h"

namespace tributary::worker {
namespace {

class MlpNetwork final : public Network {
 public:
  MlpNetwork(const optim::MlpModel& model, BlockFinder& blocks) : inputs_(model.inputs), task_(model.task) {
    std::vector<int64_t> widths = model.hidden;
    widths.push_back(model.outputs);
    int64_t in = model.inputs;
    for (size_t i = 0; i < widths.size(); ++i) {
      weights_.push_back(blocks.Find(absl::StrCat("fc.", i, ".weight"), {widths[i], in}));
      biases_.push_back(blocks.Find(absl::StrCat("fc.", i, ".bias"), {widths[i]}));
      in = widths[i];
    }
  }

  absl::Status CheckInputs(const Batch& batch) const override {
    if (batch.rows < 1 || static_cast<int64_t>(batch.features.size()) != batch.rows * inputs_) {
      return absl::InvalidArgumentError(absl::StrCat("a table batch of ", batch.rows, " rows and ", batch.features.size(),
                                                     " values does not fit a model with ", inputs_, " inputs"));
    }
    return absl::OkStatus();
  }

  // [N, outputs]
  at::Tensor Outputs(absl::Span<const at::Tensor> p, const Batch& batch) const override {
    at::Tensor x = at::from_blob(const_cast<float*>(batch.features.data()), {batch.rows, inputs_}, at::kFloat);
    for (size_t i = 0; i < weights_.size(); ++i) {
      if (i > 0) {
        x = at::gelu(x);
      }
      x = at::linear(x, p[weights_[i]], p[biases_[i]]);
    }
    return x;
  }

  // Of numbers: mean squared error.
  at::Tensor MeanLoss(const at::Tensor& outputs, const Batch& batch) const override {
    if (task_ == optim::MlpModel::Task::kClasses) {
      return Network::MeanLoss(outputs, batch);
    }
    const at::Tensor values = at::from_blob(const_cast<float*>(batch.values.data()), {batch.rows}, at::kFloat);
    return WeightedMean(outputs.view({batch.rows}).sub(values).square(), batch);
  }

  absl::Status CheckTargets(const Batch& batch) const override {
    return task_ == optim::MlpModel::Task::kClasses ? Network::CheckTargets(batch)
                                                    : CheckCount("values", batch.values.size(), static_cast<size_t>(batch.rows), batch);
  }

 private:
  const int64_t inputs_;
  const optim::MlpModel::Task task_;
  std::vector<size_t> weights_;
  std::vector<size_t> biases_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> MakeNetwork(const optim::MlpModel& model, const optim::Layout& layout) {
  BlockFinder blocks(layout);
  auto network = std::make_unique<MlpNetwork>(model, blocks);
  TRIBUTARY_RETURN_IF_ERROR(blocks.status());
  return network;
}

}  // namespace tributary::worker
