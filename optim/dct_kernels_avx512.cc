#define TRIBUTARY_KERNELS avx512
namespace tributary::optim::avx512 {
constexpr int kVectorBytes = 64;
}
#include "optim/dct_kernels.inc"
