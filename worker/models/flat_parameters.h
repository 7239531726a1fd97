// The thin bridge between the flat fp32 vectors of optim/ and LibTorch: tensors that are views on the vector, one for each block.
//
// Nothing is copied: a backward pass adds its gradients straight into the vector that an encoder reads.
#ifndef TRIBUTARY_WORKER_MODELS_FLAT_PARAMETERS_H_
#define TRIBUTARY_WORKER_MODELS_FLAT_PARAMETERS_H_

#include <vector>

#include "absl/types/span.h"
#include "optim/layout.h"

namespace at {
class Tensor;
}  // namespace at

namespace tributary::worker {

// Tensors [blocks] of the shapes in `layout`, in its order, on the memory of `theta` [layout.size()], which must outlive them. They are to
// be read only (a tensor cannot say so itself).
std::vector<at::Tensor> ViewParameters(const optim::Layout& layout, absl::Span<const float> theta);

// The same as autograd leaves whose gradients accumulate in `gradient` [layout.size()], which must outlive them and is zeroed here.
// Frozen blocks ask for no gradient: theirs stays zero.
std::vector<at::Tensor> ViewParametersWithGradients(const optim::Layout& layout, absl::Span<const float> theta, absl::Span<float> gradient);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_MODELS_FLAT_PARAMETERS_H_
