// The worker's residual e: what of the gradients has not been sent. Element-wise work on one patch of it at a time, and norms. Internal to
// the sparse modes.
#ifndef TRIBUTARY_OPTIM_RESIDUAL_H_
#define TRIBUTARY_OPTIM_RESIDUAL_H_

#include "absl/types/span.h"
#include "optim/chunk_plan.h"
#include "optim/dct.h"

namespace tributary::optim {

// e = beta*e + gain*g over the patch, and a copy of it in the tile. g and e are [layout.size()].
void AddToResidual(const Patch& patch, float beta, float gain, const float* g, float* e, Tile& tile);

// e -= scale * tile over the patch.
void SubtractFromResidual(const Patch& patch, float scale, const Tile& tile, float* e);

// L2 norm, summed in fp64; not finite if an element is not. The result depends neither on `threads` nor on the instruction set.
double Norm(absl::Span<const float> x, int threads);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_RESIDUAL_H_
