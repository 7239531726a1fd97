#define TRIBUTARY_KERNELS avx2
namespace tributary::optim::avx2 {
constexpr int kVectorBytes = 32;
}
#include "optim/dct_kernels.inc"
