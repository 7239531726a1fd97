// AdamW (Loshchilov, Hutter, arXiv 1711.05101) over plain fp32 spans.
//
// Used in two places: at every replica in mode `allreduce`, where bit-exactness matters, and for a worker's local steps. Each
// element takes single IEEE operations (+, -, *, /, sqrt) in a fixed order with contraction off, so all machines agree.
#ifndef TRIBUTARY_OPTIM_ADAMW_H_
#define TRIBUTARY_OPTIM_ADAMW_H_

#include <cstdint>

#include "absl/types/span.h"
#include "optim/options.h"

namespace tributary::optim {

// One step, in place; all spans have the same size. `step` is 1-based (bias correction, computed in double by repeated
// multiplication, not by pow).
//   m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g*g
//   theta = theta*(1 - lr*wd) - lr * (m/(1-b1^step)) / (sqrt(v/(1-b2^step)) + eps)
// Operations associate as written, from the left (lr times the first quotient is divided by the bracket; (1-b2)*g is multiplied by g). All
// are fp32; 1-b1^step and 1-b2^step are rounded to fp32 once.
void AdamWStep(const AdamOptions& options, float learning_rate, float weight_decay, uint64_t step, absl::Span<const float> gradient,
               absl::Span<float> m, absl::Span<float> v, absl::Span<float> theta);

// Sum of squares in double, in an order that depends on the size alone. NaN or infinity exactly if a value is not finite.
double SquaredNorm(absl::Span<const float> values);

// Scales `gradient` so that its L2 norm is at most `clip_norm` (0: leaves it). Returns the norm before; NaN or infinity if the gradient
// is not finite, and then the gradient is left as it was.
double ClipNorm(float clip_norm, absl::Span<float> gradient);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_ADAMW_H_
