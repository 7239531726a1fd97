#include "optim/dct.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <numbers>

#include "optim/dct_kernels.h"

namespace tributary::optim {
namespace {

// |Z| stays below 2^kSumBits (plus rounding), which a double holds exactly.
constexpr int kSumBits = 52;

// F[i, b] of the file's head.
double BasisValue(int edge, int frequency, int position) {
  const double scale = std::sqrt((frequency == 0 ? 1.0 : 2.0) / edge);
  return scale * std::cos(std::numbers::pi * (2 * position + 1) * frequency / (2.0 * edge));
}

// Panels of 8 outputs for `outputs` rows value(m, j), j < inputs; rows past the last are zero.
template <typename Value>
float* FillPanels(int outputs, int inputs, const Value& value, float* panel) {
  for (int m = 0; m < outputs; m += 8) {
    for (int j = 0; j < inputs; ++j) {
      for (int t = 0; t < 8; ++t) {
        *panel++ = m + t < outputs ? static_cast<float>(value(m + t, j)) : 0.0f;
      }
    }
  }
  return panel;
}

std::unique_ptr<DctBasis> MakeBasis(int edge) {
  auto basis = std::make_unique<DctBasis>();
  basis->edge = edge;
  int64_t max = 0;
  for (int b = 0; b < kTileEdge; ++b) {
    for (int i = 0; i < kTileEdge; ++i) {
      const double entry = b < edge && i < edge ? std::nearbyint(std::ldexp(BasisValue(edge, b, i), kBasisBits)) : 0.0;
      basis->integer[b][i] = entry;
      max = std::max(max, static_cast<int64_t>(std::fabs(entry)));
    }
  }
  basis->max_bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(max)));
  if (edge < kTileEdge) {
    FillPanels(
        edge, edge, [edge](int b, int i) { return BasisValue(edge, b, i); }, basis->panels);
  } else {
    // Frequencies that are odd multiples of 1, 2 and 4, then the multiples of 8, over the first 32, 16, 8 and 8 positions.
    float* panel = basis->panels;
    for (int half = 32, step = 1; half >= 8; half /= 2, step *= 2) {
      panel = FillPanels(
          half, half, [=](int m, int j) { return BasisValue(edge, (2 * m + 1) * step, j); }, panel);
    }
    FillPanels(
        8, 8, [=](int m, int j) { return BasisValue(edge, 8 * m, j); }, panel);
  }
  return basis;
}

const DctKernels* KernelsFor(InstructionSet set) {
#if defined(__x86_64__)
  switch (set) {
    case InstructionSet::kAvx512:
      return &avx512::kKernels;
    case InstructionSet::kAvx2:
      return &avx2::kKernels;
    case InstructionSet::kBaseline:
      break;
  }
#endif
  return &baseline::kKernels;
}

InstructionSet BestInstructionSet() {
  for (InstructionSet set : {InstructionSet::kAvx512, InstructionSet::kAvx2}) {
    if (HasInstructionSet(set)) {
      return set;
    }
  }
  return InstructionSet::kBaseline;
}

std::atomic<const DctKernels*>& ActiveKernels() {
  static std::atomic<const DctKernels*> active{KernelsFor(BestInstructionSet())};
  return active;
}

const DctKernels& Kernels() {
  return *ActiveKernels().load(std::memory_order_relaxed);
}

// Gives each distinct column frequency among `index` a column of work.columns, zeroed. Returns how many there are; work.slot tells which.
int AssignColumns(int cols, absl::Span<const uint16_t> index, const DctBasis& horizontal, DctWorkspace& work) {
  work.slot.fill(-1);
  int columns = 0;
  for (const uint16_t place : index) {
    const int frequency = place % cols;
    if (work.slot[frequency] >= 0) {
      continue;
    }
    work.basis[columns] = horizontal.integer[frequency];
    std::fill_n(work.columns.data() + columns * kTileEdge, kTileEdge, 0.0);
    work.slot[frequency] = static_cast<int8_t>(columns++);
  }
  return columns;
}

// Y = sum_b C[b] value[b], in doubles: exact for integers while the sums stay below 2^53.
template <typename T>
void SumRows(int cols, absl::Span<const uint16_t> index, absl::Span<const T> value, const DctBasis& vertical, const DctKernels& kernels,
             DctWorkspace& work) {
  for (size_t e = 0; e < index.size(); ++e) {
    const int frequency = index[e] % cols;
    kernels.accumulate(value[e], vertical.integer[index[e] / cols], work.columns.data() + work.slot[frequency] * kTileEdge);
  }
}

// value / 2^shift, half away from zero. shift >= 1.
int64_t RoundedShift(int64_t value, int shift) {
  const int64_t half = int64_t{1} << (shift - 1);
  return value >= 0 ? (value + half) >> shift : -((-value + half) >> shift);
}

// Likewise in 64-bit integers, and rounded to `shift` fewer bits: for components so large that doubles would not hold Z.
void SumRowsShifted(int cols, int shift, absl::Span<const uint16_t> index, absl::Span<const int32_t> value, const DctBasis& vertical,
                    DctWorkspace& work) {
  std::array<int64_t, kTileEdge> sum;
  for (int frequency = 0; frequency < cols; ++frequency) {
    if (work.slot[frequency] < 0) {
      continue;
    }
    sum.fill(0);
    for (size_t e = 0; e < index.size(); ++e) {
      if (index[e] % cols != frequency) {
        continue;
      }
      const double* row = vertical.integer[index[e] / cols];
      for (int i = 0; i < kTileEdge; ++i) {
        sum[i] += static_cast<int64_t>(row[i]) * value[e];
      }
    }
    double* column = work.columns.data() + work.slot[frequency] * kTileEdge;
    for (int i = 0; i < kTileEdge; ++i) {
      column[i] = static_cast<double>(RoundedShift(sum[i], shift));
    }
  }
}

}  // namespace

bool HasInstructionSet(InstructionSet set) {
#if defined(__x86_64__)
  switch (set) {
    case InstructionSet::kAvx512:
      return HasInstructionSet(InstructionSet::kAvx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
    case InstructionSet::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case InstructionSet::kBaseline:
      return true;
  }
#endif
  return set == InstructionSet::kBaseline;
}

void UseInstructionSet(InstructionSet set) {
  ActiveKernels().store(KernelsFor(set), std::memory_order_relaxed);
}

const DctBasis& BasisOf(int edge) {
  static std::array<std::once_flag, kTileEdge + 1> once;
  static std::array<std::unique_ptr<const DctBasis>, kTileEdge + 1>& bases =
      *new std::array<std::unique_ptr<const DctBasis>, kTileEdge + 1>();
  std::call_once(once[edge], [edge] { bases[edge] = MakeBasis(edge); });
  return *bases[edge];
}

void ForwardDct(int rows, int cols, const Tile& tile, DctWorkspace& work, Tile& spectrum) {
  const DctKernels& kernels = Kernels();
  if (rows < kTileEdge) {
    work.first.fill(0.0f);
  }
  if (cols < kTileEdge) {
    spectrum.at.fill(0.0f);
  }
  const DctBasis& vertical = BasisOf(rows);
  const DctBasis& horizontal = BasisOf(cols);
  kernels.forward(rows, vertical.panels, tile.at.data(), work.first.data());
  kernels.transpose(work.first.data(), work.second.data());
  kernels.forward(cols, horizontal.panels, work.second.data(), spectrum.at.data());
}

void InverseDct(int rows, int cols, absl::Span<const uint16_t> index, absl::Span<const int32_t> value, DctWorkspace& work, Tile& tile) {
  const DctKernels& kernels = Kernels();
  const DctBasis& vertical = BasisOf(rows);
  const DctBasis& horizontal = BasisOf(cols);
  uint64_t sum = 0;  // B
  for (const int32_t q : value) {
    sum += static_cast<uint64_t>(std::abs(q));
  }
  const int shift = std::max(0, static_cast<int>(std::bit_width(sum)) + vertical.max_bits + horizontal.max_bits - kSumBits);

  const int columns = AssignColumns(cols, index, horizontal, work);
  if (shift == 0) {
    SumRows(cols, index, value, vertical, kernels, work);
  } else {
    SumRowsShifted(cols, shift, index, value, vertical, work);
  }
  kernels.expand(columns, work.columns.data(), work.basis.data(), std::ldexp(1.0, shift - 2 * kBasisBits), rows, cols, tile.at.data());
}

void InverseDct(int rows, int cols, absl::Span<const uint16_t> index, absl::Span<const float> value, DctWorkspace& work, Tile& tile) {
  const DctKernels& kernels = Kernels();
  const int columns = AssignColumns(cols, index, BasisOf(cols), work);
  SumRows(cols, index, value, BasisOf(rows), kernels, work);
  kernels.expand(columns, work.columns.data(), work.basis.data(), std::ldexp(1.0, -2 * kBasisBits), rows, cols, tile.at.data());
}

}  // namespace tributary::optim
