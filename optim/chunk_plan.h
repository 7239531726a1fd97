// How the sparse modes cut a layout into chunks. Derived from layout and options alone, so that it never travels.
//
// A chunk is the unit of selection: at most kChunkSize parameters, of which the k largest components are kept. Chunks of one shape form a
// segment, which shares a scale. What is frozen or empty belongs to no chunk.
//
// Mode `demo` cuts as published (algorithm 1 of arXiv 2411.19870 and its reference program): every block by itself, seen as a matrix
// [shape[0], product of the rest] (a vector or scalar as [1, size]), in tiles of EdgeFor(rows) x EdgeFor(cols).
//
// Modes `distro` and `local` follow three rules, in this order:
//  1. Blocks of fewer than kChunkSize parameters (norms, biases) are laid end to end and cut as one flat run: a chunk each would cost more
//     than they weigh.
//  2. With the DCT, a block of two dimensions or more whose matrix is at least kMinTiledEdge wide and high is cut in tiles, as above.
//  3. Every other block is cut as a flat run of its own.
// A flat run of n parameters is cut in t = ceil(n / kChunkSize) chunks of ceil(n / t) places; with the DCT, a chunk longer than kTileEdge
// is folded into rows of kTileEdge, so it is transformed in two dimensions too. Zeros fill what is missing at the end; what they decode to
// is dropped.
#ifndef TRIBUTARY_OPTIM_CHUNK_PLAN_H_
#define TRIBUTARY_OPTIM_CHUNK_PLAN_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "optim/layout.h"
#include "optim/options.h"
#include "optim/payload.h"

namespace tributary::optim {

// Below this, a divisor of an extent makes tiles too small to compress, and tiles are padded instead.
inline constexpr int64_t kMinTiledEdge = 16;

// Edge of the tiles along a dimension of `extent` >= 1: the extent itself up to kTileEdge; else its largest divisor up to kTileEdge, as
// published; else, where that is below kMinTiledEdge (primes), the edge of ceil(extent / kTileEdge) equal tiles, the last one padded with
// zeros.
int64_t EdgeFor(int64_t extent);

// Consecutive parameters theta[offset, offset + length) at `start` of a flat run.
struct Piece {
  int64_t offset = 0;
  int64_t length = 0;
  int64_t start = 0;
};

// A rectangle of a chunk's parameters: row r is theta[offset + r * stride, + cols), at [place + r * kTileEdge, + cols) of a Tile
// (optim/dct.h).
struct Patch {
  int64_t offset = 0;
  int64_t stride = 0;
  int32_t place = 0;
  int32_t rows = 0;
  int32_t cols = 0;
};

// Chunks of one shape. A chunk's parameters lie row-major in a tile [rows, cols]; its length is rows * cols, and so many components it has.
struct Segment {
  bool transformed = false;  // components are those of the tile's DCT: component b * cols + d, b the row frequency, d the column frequency
  int32_t rows = 0;          // 1..kTileEdge; 1 if not transformed
  int32_t cols = 0;          // 1..kTileEdge; up to kChunkSize if not transformed
  int64_t chunk_count = 0;
  int64_t first_chunk = 0;  // number of the first chunk, over all segments
  int64_t first_place = 0;  // number of its first place, over all segments

  // A matrix in tiles ...
  int64_t matrix_offset = 0;
  int64_t matrix_rows = 0;  // 0: not a matrix
  int64_t matrix_cols = 0;
  int64_t tiles_across = 0;
  // ... or a flat run: pieces end to end, cut every `run_step` parameters (up to rows * cols).
  std::vector<Piece> pieces;
  int64_t run_step = 0;
  int64_t run_length = 0;

  int64_t chunk_length() const { return int64_t{rows} * cols; }
  // Whether some places of the segment's chunk `chunk` hold no parameter.
  bool IsPadded(int64_t chunk) const {
    if (matrix_rows == 0) {
      return run_step < chunk_length() || (chunk + 1) * run_step > run_length;
    }
    return (chunk / tiles_across + 1) * rows > matrix_rows || (chunk % tiles_across + 1) * cols > matrix_cols;
  }

  // Calls visit(Patch) for the parameters of the segment's chunk `chunk`: one rectangle of a matrix, or what a flat run has there, a row
  // each, by ascending place.
  template <typename Visit>
  void ForEachPatch(int64_t chunk, const Visit& visit) const;
};

// Immutable; safe to share between threads.
class ChunkPlan {
 public:
  // `options` have been validated.
  ChunkPlan(const OptimizerOptions& options, const Layout& layout);

  const std::vector<Segment>& segments() const { return segments_; }
  int64_t chunks() const { return chunks_; }
  // Sum of all chunk lengths: the parameters that are not frozen, and padding.
  int64_t places() const { return places_; }
  // Number of the segment that holds chunk `chunk`.
  size_t SegmentOf(int64_t chunk) const;

  // What a worker's update and a commit look like.
  const PayloadShape& update_shape() const { return update_shape_; }
  const PayloadShape& commit_shape() const { return commit_shape_; }

 private:
  void AddMatrix(int64_t offset, int64_t rows, int64_t cols);
  void AddRun(std::vector<Piece> pieces, Domain domain);
  void Add(Segment segment);

  std::vector<Segment> segments_;
  int64_t chunks_ = 0;
  int64_t places_ = 0;
  PayloadShape update_shape_;
  PayloadShape commit_shape_;
};

// Implementation only below.

template <typename Visit>
void Segment::ForEachPatch(int64_t chunk, const Visit& visit) const {
  if (matrix_rows > 0) {
    const int64_t top = chunk / tiles_across * rows;
    const int64_t left = chunk % tiles_across * cols;
    visit(Patch{.offset = matrix_offset + top * matrix_cols + left,
                .stride = matrix_cols,
                .place = 0,
                .rows = static_cast<int32_t>(std::min<int64_t>(rows, matrix_rows - top)),
                .cols = static_cast<int32_t>(std::min<int64_t>(cols, matrix_cols - left))});
    return;
  }
  const int64_t begin = chunk * run_step;
  const int64_t end = std::min(begin + run_step, run_length);
  // The last piece that starts at or before `begin`.
  auto piece = std::upper_bound(pieces.begin(), pieces.end(), begin, [](int64_t at, const Piece& p) { return at < p.start; }) - 1;
  for (int64_t at = begin; at < end; ++piece) {
    const int64_t length = std::min(end, piece->start + piece->length) - at;
    visit(Patch{.offset = piece->offset + at - piece->start,
                .stride = 0,
                .place = static_cast<int32_t>(at - begin),
                .rows = 1,
                .cols = static_cast<int32_t>(length)});
    at += length;
  }
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_CHUNK_PLAN_H_
