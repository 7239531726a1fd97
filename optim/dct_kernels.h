// The inner loops of optim/dct.h, compiled once for each instruction set. Internal.
#ifndef TRIBUTARY_OPTIM_DCT_KERNELS_H_
#define TRIBUTARY_OPTIM_DCT_KERNELS_H_

namespace tributary::optim {

// Rows of all arrays lie 64 elements apart and start at multiples of 64 bytes.
struct DctKernels {
  // out[b, j] = sum_i F[i, b] x[i, j] for all 64 columns; panels as in DctBasis. Rows of `out` from `edge` to the next multiple of 8 become
  // zero.
  void (*forward)(int edge, const float* panels, const float* x, float* out);
  // out[j, i] = x[i, j], 64 x 64.
  void (*transpose)(const float* x, float* out);
  // y[i] += q * c[i], 64 elements. Exact where the values are integers and the sums below 2^53.
  void (*accumulate)(double q, const double* c, double* y);
  // out[i, j] = float(unit * sum_s y[s, i] * c[s][j]) for i < rows rounded up to 4, j < cols rounded up to 32. `unit` is a power of two.
  void (*expand)(int columns, const double* y, const double* const* c, double unit, int rows, int cols, float* out);
};

namespace baseline {
extern const DctKernels kKernels;
}
namespace avx2 {
extern const DctKernels kKernels;
}
namespace avx512 {
extern const DctKernels kKernels;
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_DCT_KERNELS_H_
