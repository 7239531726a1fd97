// The exact inverse DCT as optim/dct.h defines it, the slow way.
#ifndef TRIBUTARY_TESTS_OPTIM_REFERENCE_INVERSE_H_
#define TRIBUTARY_TESTS_OPTIM_REFERENCE_INVERSE_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "optim/dct.h"

namespace tributary::optim {

// The inverse transform as the header defines it, in 128-bit integers, one component after another.
inline std::vector<float> DefinedInverse(int rows, int cols, absl::Span<const uint16_t> index, absl::Span<const int32_t> value) {
  const DctBasis& vertical = BasisOf(rows);
  const DctBasis& horizontal = BasisOf(cols);
  const auto entry = [](const DctBasis& basis, int b, int i) { return static_cast<int64_t>(basis.integer[b][i]); };
  const auto max_bits = [&](const DctBasis& basis) {
    int64_t max = 0;
    for (int b = 0; b < basis.edge; ++b) {
      for (int i = 0; i < basis.edge; ++i) {
        max = std::max(max, std::abs(entry(basis, b, i)));
      }
    }
    return static_cast<int>(std::bit_width(static_cast<uint64_t>(max)));
  };
  uint64_t sum = 0;
  for (const int32_t q : value) {
    sum += static_cast<uint64_t>(std::abs(q));
  }
  const int shift = std::max(0, static_cast<int>(std::bit_width(sum)) + max_bits(vertical) + max_bits(horizontal) - 52);

  std::vector<__int128> y(rows * cols, 0);
  for (size_t e = 0; e < index.size(); ++e) {
    const int b = index[e] / cols;
    const int d = index[e] % cols;
    for (int i = 0; i < rows; ++i) {
      y[i * cols + d] += static_cast<__int128>(entry(vertical, b, i)) * value[e];
    }
  }
  for (__int128& v : y) {
    if (shift == 0) {
      break;
    }
    const __int128 half = static_cast<__int128>(1) << (shift - 1);
    v = v >= 0 ? (v + half) >> shift : -((-v + half) >> shift);
  }
  std::vector<float> x(rows * cols);
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < cols; ++j) {
      __int128 z = 0;
      for (int d = 0; d < cols; ++d) {
        z += y[i * cols + d] * entry(horizontal, d, j);
      }
      EXPECT_LT(z < 0 ? -z : z, static_cast<__int128>(1) << 53);
      x[i * cols + j] = static_cast<float>(std::ldexp(static_cast<double>(z), shift - 2 * kBasisBits));
    }
  }
  return x;
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_TESTS_OPTIM_REFERENCE_INVERSE_H_
