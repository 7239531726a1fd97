#include "optim/residual.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "optim/parallel.h"
#include "optim/simd.h"
#include "optim/sparse_chunk.h"

namespace tributary::optim {
namespace {

// Elements that one thread takes at a time where there are no chunks.
constexpr int64_t kBand = int64_t{1} << 18;

// Sixteen running sums whatever the instruction set, so that the result does not depend on it.
TRIBUTARY_SIMD_CLONES double SumOfSquares(const float* x, int64_t n) {
  double sum[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int lane = 0; lane < 16; ++lane) {
      sum[lane] += static_cast<double>(x[i + lane]) * static_cast<double>(x[i + lane]);
    }
  }
  for (; i < n; ++i) {
    sum[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  double total = 0;
  for (const double s : sum) {
    total += s;
  }
  return total;
}

TRIBUTARY_SIMD_CLONES void Accumulate(const Patch& patch, float beta, float gain, const float* __restrict g, float* __restrict e,
                                      float* __restrict tile) {
  ForEachRow(
      patch, [=](int64_t cols, int64_t at, int64_t in_tile) __attribute__((always_inline)) {
        for (int64_t j = 0; j < cols; ++j) {
          const float sum = beta * e[at + j] + gain * g[at + j];
          e[at + j] = sum;
          tile[in_tile + j] = sum;
        }
      });
}

TRIBUTARY_SIMD_CLONES void Subtract(const Patch& patch, float scale, const float* __restrict v, float* __restrict e) {
  ForEachRow(
      patch, [=](int64_t cols, int64_t at, int64_t in_tile) __attribute__((always_inline)) {
        for (int64_t j = 0; j < cols; ++j) {
          e[at + j] -= scale * v[in_tile + j];
        }
      });
}

}  // namespace

void AddToResidual(const Patch& patch, float beta, float gain, const float* g, float* e, Tile& tile) {
  Accumulate(patch, beta, gain, g, e, tile.at.data());
}

void SubtractFromResidual(const Patch& patch, float scale, const Tile& tile, float* e) {
  Subtract(patch, scale, tile.at.data(), e);
}

double Norm(absl::Span<const float> x, int threads) {
  const auto size = static_cast<int64_t>(x.size());
  std::vector<double> sums((size + kBand - 1) / kBand);
  ParallelFor(threads, static_cast<int64_t>(sums.size()),
              [&](int64_t band) { sums[band] = SumOfSquares(x.data() + band * kBand, std::min(kBand, size - band * kBand)); });
  return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
}

}  // namespace tributary::optim
