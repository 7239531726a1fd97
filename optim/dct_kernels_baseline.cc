#define TRIBUTARY_KERNELS baseline
namespace tributary::optim::baseline {
constexpr int kVectorBytes = 16;
}
#include "optim/dct_kernels.inc"
