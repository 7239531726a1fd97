// The canonical bytes of a sparse update or commit: one encoder, one decoder, one validator for all sparse modes.
// Format: docs/reference/wire_format.md, "Payload".
//
// A payload covers segments (groups of equally long chunks that share a scale). For each segment: an fp32 scale; for each chunk: ascending
// indices, their gaps Rice-coded against the number of places and entries left, and non-zero signed values of `value_bits`.
#ifndef TRIBUTARY_OPTIM_PAYLOAD_H_
#define TRIBUTARY_OPTIM_PAYLOAD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tributary::optim {

// chunk_count chunks of chunk_length places each (1..kChunkSize); at most max_kept places of a chunk are kept.
struct SegmentShape {
  uint32_t chunk_count = 0;
  uint32_t chunk_length = 0;
  uint32_t max_kept = 0;
};

// What both sides know without being told, from layout and options (ChunkPlan gives it).
struct PayloadShape {
  std::vector<SegmentShape> segments;
  // 1, 2, 4, 8: values in +-1..+-2^(bits-1); 24: +-1..+-(2^23-1) for `demo`'s commits and unions of supports; 32: IEEE fp32 bit patterns,
  // for `demo`'s updates as published (finite, non-zero).
  uint32_t value_bits = 1;
};

// Decoded form. Chunks of all segments are numbered in order.
struct SparseValues {
  std::vector<float> scales;          // [segments]; finite, >= 0; +0 exactly when the segment keeps nothing
  std::vector<uint32_t> chunk_begin;  // [chunks + 1]: entries of chunk c are [chunk_begin[c], chunk_begin[c+1])
  std::vector<uint16_t> index;        // [entries]: place inside the chunk, ascending
  std::vector<int32_t> value;         // [entries]: non-zero; for value_bits 32 the bit pattern
};

// `values` must fit `shape` (a defect of the caller otherwise: checked with assertions in debug builds).
std::string EncodePayload(const PayloadShape& shape, const SparseValues& values);

// Fills `values` (reusing its memory; after an error its contents mean nothing). InvalidArgument with segment and chunk: truncated,
// trailing bytes, unknown version, an index or value out of range, more than max_kept kept, a scale that is negative, not finite or zero
// with values, padding bits that are not zero: everything but the one canonical encoding. Nothing is allocated before its size is bounded
// by `shape` and by the bytes at hand.
absl::Status DecodePayload(const PayloadShape& shape, absl::string_view bytes, SparseValues& values);

// No encoding for `shape` is longer; the longest come within a few percent of it.
uint64_t MaxPayloadBytes(const PayloadShape& shape);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_PAYLOAD_H_
