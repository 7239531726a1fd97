// The orthonormal DCT-II of a tile, forward in fp32 and back in integers.
//   F[i,b] = c_b cos(pi (2i+1) b / 2n),  c_0 = sqrt(1/n), c_b = sqrt(2/n);  X = F_h^T x F_w,  x = F_h X F_w^T
// Source: Ahmed, Natarajan, Rao, Discrete Cosine Transform, IEEE Trans. Computers C-23 (1974); algorithm 1 of arXiv 2411.19870.
//
// Forward runs on a worker alone, so it need not agree between machines; it is deterministic on one.
//
// Back runs on every replica and gives the same bits everywhere, because it is integer arithmetic throughout:
//   C[b,i] = round(2^22 F[i,b])                          a table; no entry is near a rounding boundary, so any libm gives the same
//   Y[i,d] = round(sum_b C[b,i] q[b,d] / 2^s)            half away from zero; exact for s = 0
//   Z[i,j] = sum_d Y[i,d] C[d,j]                         x = 2^(s-44) Z, rounded once to fp32
// Ranges: let B = sum |q| of the chunk and w(n) the bits of n. s = max(0, w(B) + w(max|C_h|) + w(max|C_w|) - 52) depends on B alone, and
// |Y| <= 2^-s B max|C_h| + 1/2, so |Z| < 2^52 + 64 * 2^22 / 2 < 2^53: partial sums too are integers that a double holds exactly, in any
// order, fused or not. That lets Z use the processor's double units. |q| < 2^23 and at most 4096 of them: sums over b stay below
// 2^57. For a 64 x 64 tile s = 0 while B < 4096: the result is then exact in the table. Where these ranges come from (how many workers a
// commit sums) does not matter here: q is bounded by the payload's format.
//
// Only the distinct column frequencies d of a chunk are visited, so k components cost at most k multiply-adds a parameter.
#ifndef TRIBUTARY_OPTIM_DCT_H_
#define TRIBUTARY_OPTIM_DCT_H_

#include <array>
#include <cstdint>

#include "absl/types/span.h"
#include "optim/options.h"

namespace tributary::optim {

inline constexpr int kTilePlaces = static_cast<int>(kTileEdge * kTileEdge);
// Fraction bits of the integer basis.
inline constexpr int kBasisBits = 22;

// One chunk's parameters [rows, cols], row-major with rows kTileEdge apart; what lies outside rows and cols is zero.
struct alignas(64) Tile {
  std::array<float, kTilePlaces> at;
};

// Tables for one edge, 1..kTileEdge.
struct DctBasis {
  int edge = 0;
  int max_bits = 0;  // w(max|C|)
  // C[b][i], integers. Zero outside the edge.
  alignas(64) double integer[kTileEdge][kTileEdge];
  // F for the forward transform, in panels of 8 outputs: panel p, input i, output 8p + t at (p * edge + i) * 8 + t. For edge 64 these are
  // the panels of the four products that its symmetric halves leave (dct_kernels.inc).
  alignas(64) float panels[kTileEdge * kTileEdge];
};

// Made at the first use of an edge, and never destroyed. Thread-safe.
const DctBasis& BasisOf(int edge);

// Work space of one thread.
struct alignas(64) DctWorkspace {
  std::array<float, kTilePlaces> first;
  std::array<float, kTilePlaces> second;
  std::array<double, kTilePlaces> columns;     // Y, a column after the other
  std::array<const double*, kTileEdge> basis;  // C of each column's frequency
  std::array<int8_t, kTileEdge> slot;          // of each frequency, -1: none
};

// Which copy of the kernels runs. The best one that the processor has, unless a test says otherwise.
enum class InstructionSet { kBaseline, kAvx2, kAvx512 };
bool HasInstructionSet(InstructionSet set);
// For tests and benchmarks: not while another thread uses this file. HasInstructionSet(set) must hold.
void UseInstructionSet(InstructionSet set);

// Transforms the tile [rows, cols]. Component (b, d) goes to spectrum.at[d * kTileEdge + b] (transposed: it saves a pass, and selection
// does not mind); what lies outside is zero.
void ForwardDct(int rows, int cols, const Tile& tile, DctWorkspace& work, Tile& spectrum);

// Fills `tile` [rows, cols] with the inverse transform of integer components; places outside are undefined. index: b * cols + d, ascending;
// value: |q| < 2^23.
void InverseDct(int rows, int cols, absl::Span<const uint16_t> index, absl::Span<const int32_t> value, DctWorkspace& work, Tile& tile);

// Likewise for fp32 components, as published. Not exact: for residuals only.
void InverseDct(int rows, int cols, absl::Span<const uint16_t> index, absl::Span<const float> value, DctWorkspace& work, Tile& tile);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_DCT_H_
