// What encoder and Apply share of the sparse modes: visiting chunks with some threads, and their parameters. Internal.
#ifndef TRIBUTARY_OPTIM_SPARSE_CHUNK_H_
#define TRIBUTARY_OPTIM_SPARSE_CHUNK_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "optim/chunk_plan.h"
#include "optim/dct.h"
#include "optim/parallel.h"
#include "optim/payload.h"
#include "optim/select.h"

namespace tributary::optim {

// Work space of one thread. Left uninitialised: every use writes before it reads.
struct ChunkWorkspace {
  Tile tile;
  Tile spectrum;
  DctWorkspace dct;
  SelectWorkspace<uint32_t> select;
  std::vector<uint16_t> selected;
};

// Calls work(number of the segment, number of the chunk over all segments, workspace) for every chunk, each thread taking a consecutive
// share.
template <typename Work>
void ForEachChunk(const ChunkPlan& plan, int threads, const Work& work) {
  ParallelFor(threads, threads, [&](int64_t share) {
    const int64_t begin = plan.chunks() * share / threads;
    const int64_t end = plan.chunks() * (share + 1) / threads;
    if (begin == end) {
      return;
    }
    const auto workspace = std::make_unique_for_overwrite<ChunkWorkspace>();
    size_t segment = plan.SegmentOf(begin);
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      while (chunk >= plan.segments()[segment].first_chunk + plan.segments()[segment].chunk_count) {
        ++segment;
      }
      work(segment, chunk, *workspace);
    }
  });
}

// Asks for the parameters of the segment's chunk `chunk` in `array` to be brought near while something else is computed: rows of a tile lie
// far apart, which processors do not see through by themselves. No effect past the last chunk.
inline void Prefetch(const Segment& segment, int64_t chunk, const float* array) {
  constexpr int32_t kLine = 64 / sizeof(float);
  if (chunk >= segment.chunk_count) {
    return;
  }
  segment.ForEachPatch(chunk, [&](const Patch& patch) {
    for (int32_t row = 0; row < patch.rows; ++row) {
      for (int32_t i = 0; i < patch.cols; i += kLine) {
        __builtin_prefetch(array + patch.offset + row * patch.stride + i, 1, 2);
      }
    }
  });
}

// Calls row(cols, at, in_tile) for each row of the patch: `cols` parameters at `at`, in the tile at `in_tile`. Rows of whole tiles have a
// constant length, which makes straight-line SIMD code of a `row` that is inlined.
template <typename Row>
inline __attribute__((always_inline)) void ForEachRow(const Patch& patch, const Row& row) {
  if (patch.cols == kTileEdge) {
    for (int32_t r = 0; r < patch.rows; ++r) {
      row(kTileEdge, patch.offset + r * patch.stride, patch.place + r * kTileEdge);
    }
  } else {
    for (int32_t r = 0; r < patch.rows; ++r) {
      row(int64_t{patch.cols}, patch.offset + r * patch.stride, patch.place + r * kTileEdge);
    }
  }
}

// Calls visit(place in theta, value) for each entry of the segment's chunk `chunk`, of the identity domain.
template <typename Visit>
void ForEachParameter(const Segment& segment, int64_t chunk, absl::Span<const uint16_t> index, absl::Span<const int32_t> value,
                      const Visit& visit) {
  size_t entry = 0;
  segment.ForEachPatch(chunk, [&](const Patch& patch) {
    for (; entry < index.size() && index[entry] < patch.place + patch.cols; ++entry) {
      visit(patch.offset + index[entry] - patch.place, value[entry]);
    }
  });
}

// The entries of one chunk.
inline absl::Span<const uint16_t> IndexOf(const SparseValues& values, int64_t chunk) {
  return absl::MakeConstSpan(values.index).subspan(values.chunk_begin[chunk], values.chunk_begin[chunk + 1] - values.chunk_begin[chunk]);
}
inline absl::Span<const int32_t> ValueOf(const SparseValues& values, int64_t chunk) {
  return absl::MakeConstSpan(values.value).subspan(values.chunk_begin[chunk], values.chunk_begin[chunk + 1] - values.chunk_begin[chunk]);
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_SPARSE_CHUNK_H_
