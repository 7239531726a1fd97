#include "optim/chunk_plan.h"

#include <utility>

#include "optim/modes.h"

namespace tributary::optim {
namespace {

constexpr uint32_t kFloatBits = 32;    // IEEE bit patterns, `demo`'s updates
constexpr uint32_t kIntegerBits = 24;  // `demo`'s commits

int64_t CeilDivide(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Share of `k` of kChunkSize that falls to a chunk of `length`, at least 1.
uint32_t ShareOf(uint32_t k, int64_t length) {
  return static_cast<uint32_t>(std::clamp<int64_t>((int64_t{k} * length + kChunkSize / 2) / kChunkSize, 1, length));
}

bool AsPublished(const OptimizerOptions& options) {
  return TraitsOf(options.mode).family == Family::kFloatComponents;
}

uint32_t KeptInUpdate(const OptimizerOptions& options, int64_t length) {
  if (AsPublished(options)) {
    return static_cast<uint32_t>(std::min<int64_t>(options.k, length));
  }
  return ShareOf(options.k, length);
}

uint32_t KeptInCommit(const OptimizerOptions& options, int64_t length) {
  if (AsPublished(options) || options.commit_k == 0) {  // a union of supports
    return static_cast<uint32_t>(length);
  }
  return ShareOf(options.commit_k, length);
}

}  // namespace

int64_t EdgeFor(int64_t extent) {
  if (extent <= kTileEdge) {
    return extent;
  }
  for (int64_t edge = kTileEdge; edge >= kMinTiledEdge; --edge) {
    if (extent % edge == 0) {
      return edge;
    }
  }
  return CeilDivide(extent, CeilDivide(extent, kTileEdge));
}

ChunkPlan::ChunkPlan(const OptimizerOptions& options, const Layout& layout) {
  const bool published = AsPublished(options);
  const Domain domain = published ? Domain::kDct : options.domain;
  std::vector<Piece> small;
  for (const Block& block : layout.blocks()) {
    if (block.frozen || block.size == 0) {
      continue;
    }
    const bool matrix = block.shape.size() >= 2;
    const int64_t rows = matrix ? block.shape[0] : 1;
    const int64_t cols = block.size / rows;
    if (published) {
      AddMatrix(block.offset, rows, cols);
    } else if (block.size < kChunkSize) {
      small.push_back({block.offset, block.size});
    } else if (domain == Domain::kDct && std::min(rows, cols) >= kMinTiledEdge) {
      AddMatrix(block.offset, rows, cols);
    } else {
      AddRun({{block.offset, block.size}}, domain);
    }
  }
  if (!small.empty()) {
    AddRun(std::move(small), domain);
  }

  update_shape_.value_bits = published ? kFloatBits : options.value_bits;
  commit_shape_.value_bits = published ? kIntegerBits : options.commit_value_bits;
  for (const Segment& segment : segments_) {
    const int64_t length = segment.chunk_length();
    const auto count = static_cast<uint32_t>(segment.chunk_count);
    update_shape_.segments.push_back({count, static_cast<uint32_t>(length), KeptInUpdate(options, length)});
    commit_shape_.segments.push_back({count, static_cast<uint32_t>(length), KeptInCommit(options, length)});
  }
}

size_t ChunkPlan::SegmentOf(int64_t chunk) const {
  const auto after =
      std::upper_bound(segments_.begin(), segments_.end(), chunk, [](int64_t c, const Segment& s) { return c < s.first_chunk; });
  return static_cast<size_t>(after - segments_.begin()) - 1;
}

void ChunkPlan::AddMatrix(int64_t offset, int64_t rows, int64_t cols) {
  Segment segment;
  segment.transformed = true;
  segment.rows = static_cast<int32_t>(EdgeFor(rows));
  segment.cols = static_cast<int32_t>(EdgeFor(cols));
  segment.matrix_offset = offset;
  segment.matrix_rows = rows;
  segment.matrix_cols = cols;
  segment.tiles_across = CeilDivide(cols, segment.cols);
  segment.chunk_count = CeilDivide(rows, segment.rows) * segment.tiles_across;
  Add(std::move(segment));
}

void ChunkPlan::AddRun(std::vector<Piece> pieces, Domain domain) {
  Segment segment;
  segment.transformed = domain == Domain::kDct;
  for (Piece& piece : pieces) {
    piece.start = segment.run_length;
    segment.run_length += piece.length;
  }
  segment.pieces = std::move(pieces);
  segment.chunk_count = CeilDivide(segment.run_length, kChunkSize);
  segment.run_step = CeilDivide(segment.run_length, segment.chunk_count);
  const bool folded = segment.transformed && segment.run_step > kTileEdge;
  segment.cols = static_cast<int32_t>(folded ? kTileEdge : segment.run_step);
  segment.rows = static_cast<int32_t>(CeilDivide(segment.run_step, segment.cols));
  Add(std::move(segment));
}

void ChunkPlan::Add(Segment segment) {
  segment.first_chunk = chunks_;
  segment.first_place = places_;
  chunks_ += segment.chunk_count;
  places_ += segment.chunk_count * segment.chunk_length();
  segments_.push_back(std::move(segment));
}

}  // namespace tributary::optim
