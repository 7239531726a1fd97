#include "worker/models/flat_parameters.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>

namespace tributary::worker {
namespace {

at::Tensor ViewBlock(const optim::Block& block, float* flat) {
  return at::from_blob(flat + block.offset, block.shape, at::kFloat);
}

}  // namespace

std::vector<at::Tensor> ViewParameters(const optim::Layout& layout, absl::Span<const float> theta) {
  std::vector<at::Tensor> parameters;
  parameters.reserve(layout.blocks().size());
  for (const optim::Block& block : layout.blocks()) {
    // from_blob takes no const pointer; nothing writes through these tensors.
    parameters.push_back(ViewBlock(block, const_cast<float*>(theta.data())));
  }
  return parameters;
}

std::vector<at::Tensor> ViewParametersWithGradients(const optim::Layout& layout, absl::Span<const float> theta,
                                                    absl::Span<float> gradient) {
  std::fill(gradient.begin(), gradient.end(), 0.0f);
  std::vector<at::Tensor> parameters = ViewParameters(layout, theta);
  for (size_t i = 0; i < parameters.size(); ++i) {
    const optim::Block& block = layout.blocks()[i];
    if (block.frozen) {
      continue;
    }
    parameters[i].set_requires_grad(true);
    // A gradient that is already there is added to in place, so the sum lands in `gradient`.
    parameters[i].mutable_grad() = ViewBlock(block, gradient.data());
  }
  return parameters;
}

}  // namespace tributary::worker
