// Indices are gaps between kept places. With n places left in the chunk and k entries left in it, a gap is one of A = n - k + 1 values,
// roughly geometric, so it is Rice-coded with a parameter that follows n and k: the largest b with k * 2^b <= A. The quotient is capped,
// and what lies beyond the last full bucket shares one truncated binary code. That makes the code complete (every bit string is the start
// of exactly one list of gaps, all in range), so there is nothing non-canonical in it to reject, and bounded in length.
//
// Averaged over uniformly random supports of 4096 places it takes at most 1.4 % more than log2 C(4096, k) for every k from 1 to 64.
// Source: Golomb, Run-length encodings, IEEE Trans. Inf. Theory 12 (1966); Rice and Plaunt, IEEE Trans. Comm. 19 (1971).
#include "optim/payload.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/bytes.h"

namespace tributary::optim {
namespace {

constexpr uint8_t kVersion = 1;
constexpr int kVersionBits = 8;
constexpr int kScaleBits = 32;
// Cap of the unary part; reached by one gap in 2^15 when supports are random.
constexpr uint32_t kMaxQuotient = 15;

// Bits are written and read from the least significant of the first byte on; so are the fields, least significant bit first.
class BitWriter {
 public:
  // At most `max_bits` bits will be put.
  explicit BitWriter(uint64_t max_bits) : bytes_((max_bits + 7) / 8 + sizeof(uint64_t), '\0') {}

  // `bits` <= 56; `value` < 2^bits.
  void Put(uint64_t value, int bits) {
    pending_ |= value << pending_bits_;
    pending_bits_ += bits;
    std::memcpy(bytes_.data() + position_, &pending_, sizeof(pending_));
    position_ += pending_bits_ >> 3;
    pending_ >>= pending_bits_ & ~7;
    pending_bits_ &= 7;
  }

  // Zero bits up to a whole byte.
  std::string Finish() && {
    bytes_.resize(position_ + (pending_bits_ > 0 ? 1 : 0));
    return std::move(bytes_);
  }

 private:
  std::string bytes_;
  size_t position_ = 0;   // bytes complete
  uint64_t pending_ = 0;  // bits after them
  int pending_bits_ = 0;  // 0..7 between calls
};

// Reads past the end give zero bits; the caller asks Overrun() once in a while instead of at every bit.
class BitReader {
 public:
  explicit BitReader(absl::string_view bytes) : data_(bytes.data()), size_(bytes.size()), limit_(uint64_t{bytes.size()} * 8) {}

  // The next 57 bits at least, without taking them.
  uint64_t Peek() const {
    const uint64_t byte = position_ >> 3;
    uint64_t word = 0;
    if (byte + sizeof(word) <= size_) {
      std::memcpy(&word, data_ + byte, sizeof(word));
    } else if (byte < size_) {
      std::memcpy(&word, data_ + byte, size_ - byte);
    }
    return word >> (position_ & 7);
  }
  void Skip(int bits) { position_ += bits; }
  // `bits` <= 56.
  uint64_t Take(int bits) {
    const uint64_t value = Peek() & ((uint64_t{1} << bits) - 1);
    Skip(bits);
    return value;
  }
  bool Overrun() const { return position_ > limit_; }
  uint64_t left() const { return Overrun() ? 0 : limit_ - position_; }

 private:
  const char* data_;
  size_t size_;
  uint64_t limit_;         // in bits
  uint64_t position_ = 0;  // in bits
};

int BitWidth(uint32_t value) {
  return static_cast<int>(std::bit_width(value));
}

// How one gap is coded. Values 0..values-1 are possible: full buckets of 2^shift values each, and one last bucket with the rest.
struct GapCode {
  uint32_t values;
  int shift;
  uint32_t buckets;  // full ones

  // `places` left in the chunk, `entries` left in it: 1 <= entries <= places.
  GapCode(uint32_t places, uint32_t entries) : values(places - entries + 1), shift(0), buckets(0) {
    if (entries == 1) {
      return;
    }
    shift = std::max(0, BitWidth(values) - BitWidth(entries));
    if (shift > 0 && (entries << shift) > values) {
      --shift;
    }
    buckets = std::min((values - 1) >> shift, kMaxQuotient);
  }
  uint32_t rest() const { return values - (buckets << shift); }
};

void PutGap(uint32_t gap, const GapCode& code, BitWriter& writer) {
  const uint32_t quotient = gap >> code.shift;
  if (quotient < code.buckets) {
    // quotient ones, a zero, the remainder.
    const uint64_t remainder = gap & ((1u << code.shift) - 1);
    writer.Put(((uint64_t{1} << quotient) - 1) | (remainder << (quotient + 1)), static_cast<int>(quotient) + 1 + code.shift);
    return;
  }
  // All ones, then truncated binary over the rest: `width` bits, and one more from `shorter` on.
  const uint32_t value = gap - (code.buckets << code.shift);
  const uint32_t rest = code.rest();
  const int width = BitWidth(rest) - 1;
  const uint32_t shorter = (2u << width) - rest;
  const uint64_t ones = (uint64_t{1} << code.buckets) - 1;
  if (value < shorter) {
    writer.Put(ones | (uint64_t{value} << code.buckets), static_cast<int>(code.buckets) + width);
  } else {
    const uint32_t folded = value + shorter;  // its low bit goes last
    writer.Put(ones | (uint64_t{folded >> 1} << code.buckets) | (uint64_t{folded & 1} << (code.buckets + width)),
               static_cast<int>(code.buckets) + width + 1);
  }
}

uint32_t TakeGap(const GapCode& code, BitReader& reader) {
  const uint64_t word = reader.Peek();
  const uint32_t quotient = std::min(static_cast<uint32_t>(std::countr_one(word)), code.buckets);
  if (quotient < code.buckets) {
    reader.Skip(static_cast<int>(quotient) + 1 + code.shift);
    return (quotient << code.shift) + static_cast<uint32_t>((word >> (quotient + 1)) & ((1u << code.shift) - 1));
  }
  const uint32_t rest = code.rest();
  const int width = BitWidth(rest) - 1;
  const uint32_t shorter = (2u << width) - rest;
  const uint64_t tail = word >> code.buckets;
  uint32_t value = static_cast<uint32_t>(tail & ((uint64_t{1} << width) - 1));
  if (value < shorter) {
    reader.Skip(static_cast<int>(code.buckets) + width);
  } else {
    value = 2 * value + static_cast<uint32_t>((tail >> width) & 1) - shorter;
    reader.Skip(static_cast<int>(code.buckets) + width + 1);
  }
  return (code.buckets << code.shift) + value;
}

// Values of `value_bits` bits, as they travel.
enum class ValueKind { kSmall, kWide, kFloat };
ValueKind KindOf(uint32_t value_bits) {
  return value_bits == 32 ? ValueKind::kFloat : value_bits == 24 ? ValueKind::kWide : ValueKind::kSmall;
}

// Small: a sign bit (1: negative), then magnitude - 1 in the other bits. Wide: a sign bit, then the magnitude. Float: the pattern.
template <ValueKind kKind>
uint64_t ValueToBits(int32_t value) {
  if constexpr (kKind == ValueKind::kFloat) {
    return static_cast<uint32_t>(value);
  }
  const uint64_t sign = value < 0 ? 1 : 0;
  const uint64_t magnitude = value < 0 ? uint64_t{0} - static_cast<int64_t>(value) : static_cast<uint64_t>(value);
  return sign | ((kKind == ValueKind::kSmall ? magnitude - 1 : magnitude) << 1);
}

// False: no value has these bits.
template <ValueKind kKind>
bool BitsToValue(uint64_t bits, int32_t& value) {
  if constexpr (kKind == ValueKind::kFloat) {
    value = static_cast<int32_t>(static_cast<uint32_t>(bits));
    const float number = std::bit_cast<float>(value);
    return std::isfinite(number) && number != 0;
  }
  const int32_t magnitude = static_cast<int32_t>(bits >> 1) + (kKind == ValueKind::kSmall ? 1 : 0);
  value = (bits & 1) != 0 ? -magnitude : magnitude;
  return kKind == ValueKind::kSmall || magnitude != 0;
}

uint32_t MaxKept(const SegmentShape& segment) {
  return std::min(segment.max_kept, segment.chunk_length);
}

// Bits of one chunk's count, 0..max_kept.
int CountBits(const SegmentShape& segment) {
  return BitWidth(MaxKept(segment));
}

// Most bits that all indices of a chunk can take. Counted from its last entry, the j-th costs on average at most two bits (from the 17th
// on, three) besides the remainder of its gap in an empty chunk: the worst supports crowd at the start, where the places left make gaps
// look long. payload_bound_test computes the worst support of every chunk, and finds it within this.
uint64_t MaxGapBits(uint32_t length, uint32_t entries) {
  constexpr uint32_t kFew = 16;
  uint64_t bits = entries > 0 ? BitWidth(length - 1) : 0;
  for (uint32_t j = 2; j <= entries; ++j) {
    bits += GapCode(length, j).shift + (j <= kFew ? 2 : 3);
  }
  return bits;
}

// Longest code of one index: the capped unary part, and a remainder below chunk_length.
uint64_t MaxIndexBits(const SegmentShape& segment) {
  return kMaxQuotient + BitWidth(std::max(segment.chunk_length, 1u) - 1);
}

// Room for `entries` entries of a segment, in any of its chunks.
uint64_t MaxSegmentBits(const SegmentShape& segment, uint64_t entries, uint32_t value_bits) {
  return kScaleBits + 1 + uint64_t{segment.chunk_count} * CountBits(segment) + entries * (MaxIndexBits(segment) + value_bits);
}

bool Keeps(const SegmentShape& segment) {
  return segment.chunk_count > 0 && MaxKept(segment) > 0;
}

#ifndef NDEBUG
bool IsValidShape(const PayloadShape& shape) {
  for (const SegmentShape& segment : shape.segments) {
    if (segment.chunk_count > 0 && (segment.chunk_length < 1 || segment.chunk_length > 65536)) {
      return false;
    }
  }
  const uint32_t bits = shape.value_bits;
  return bits == 1 || bits == 2 || bits == 4 || bits == 8 || bits == 24 || bits == 32;
}
#endif

template <ValueKind kKind>
void PutChunk(const SegmentShape& segment, uint32_t value_bits, const SparseValues& values, uint32_t begin, uint32_t end,
              BitWriter& writer) {
  uint32_t next_place = 0;
  for (uint32_t e = begin; e < end; ++e) {
    assert(values.index[e] >= next_place && values.index[e] + (end - e) <= segment.chunk_length);
    PutGap(values.index[e] - next_place, GapCode(segment.chunk_length - next_place, end - e), writer);
    next_place = values.index[e] + 1u;
  }
  for (uint32_t e = begin; e < end; ++e) {
    assert(values.value[e] != 0);
    const uint64_t bits = ValueToBits<kKind>(values.value[e]);
    assert(bits >> value_bits == 0);
    writer.Put(bits, static_cast<int>(value_bits));
  }
}

template <ValueKind kKind>
std::string Encode(const PayloadShape& shape, const SparseValues& values) {
  uint64_t max_bits = kVersionBits;
  size_t first_chunk = 0;
  for (const SegmentShape& segment : shape.segments) {
    const uint64_t entries = uint64_t{values.chunk_begin[first_chunk + segment.chunk_count]} - values.chunk_begin[first_chunk];
    max_bits += MaxSegmentBits(segment, entries, shape.value_bits);
    first_chunk += segment.chunk_count;
  }
  assert(values.chunk_begin.size() == first_chunk + 1);

  BitWriter writer(max_bits);
  writer.Put(kVersion, kVersionBits);
  const uint32_t* begin = values.chunk_begin.data();
  for (size_t s = 0; s < shape.segments.size(); ++s) {
    const SegmentShape& segment = shape.segments[s];
    const uint32_t* end = begin + segment.chunk_count;
    assert(std::isfinite(values.scales[s]) && !std::signbit(values.scales[s]) && (values.scales[s] == 0) == (*begin == *end));
    writer.Put(std::bit_cast<uint32_t>(values.scales[s]), kScaleBits);
    if (*begin != *end) {
      const uint32_t kept = MaxKept(segment);
      const bool full = uint64_t{*end} - *begin == uint64_t{segment.chunk_count} * kept;
      writer.Put(full ? 1 : 0, 1);
      if (!full) {
        for (const uint32_t* c = begin; c < end; ++c) {
          assert(c[1] >= c[0] && c[1] - c[0] <= kept);
          writer.Put(c[1] - c[0], CountBits(segment));
        }
      }
      for (const uint32_t* c = begin; c < end; ++c) {
        PutChunk<kKind>(segment, shape.value_bits, values, c[0], c[1], writer);
      }
    }
    begin = end;
  }
  return std::move(writer).Finish();
}

// Where decoding stands, for messages.
absl::Status Invalid(size_t segment, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("payload, segment ", segment, ": ", what));
}
absl::Status Invalid(size_t segment, size_t chunk, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("payload, segment ", segment, ", chunk ", chunk, ": ", what));
}

// Reads how many entries each chunk of the segment has, and writes where each ends to `end` [chunk_count]. Every entry takes at least
// `value_bits` bits, which bounds their number before memory is taken for them.
absl::Status TakeCounts(const SegmentShape& segment, size_t s, uint32_t value_bits, uint32_t entries_before, BitReader& reader,
                        uint32_t* end) {
  const uint32_t kept = MaxKept(segment);
  const bool full = reader.Take(1) != 0;
  const int count_bits = CountBits(segment);
  if (!full && reader.left() < uint64_t{segment.chunk_count} * count_bits) {
    return Invalid(s, "truncated in its counts");
  }
  uint64_t entries = entries_before;
  const uint64_t max_entries = std::min<uint64_t>(entries_before + reader.left() / value_bits, std::numeric_limits<uint32_t>::max());
  for (uint32_t c = 0; c < segment.chunk_count; ++c) {
    const uint32_t count = full ? kept : static_cast<uint32_t>(reader.Take(count_bits));
    if (count > kept) {
      return Invalid(s, c, absl::StrCat(count, " entries; at most ", kept, " are kept"));
    }
    entries += count;
    if (entries > max_entries) {
      return Invalid(s, c, "truncated: more entries than the bytes can hold");
    }
    end[c] = static_cast<uint32_t>(entries);
  }
  if (entries == entries_before) {
    return Invalid(s, "a scale above zero, but nothing is kept");
  }
  if (!full && entries - entries_before == uint64_t{segment.chunk_count} * kept) {
    return Invalid(s, "counts are given although all chunks are full");
  }
  return absl::OkStatus();
}

template <ValueKind kKind>
absl::Status TakeChunk(const SegmentShape& segment, size_t s, size_t c, uint32_t value_bits, uint32_t count, BitReader& reader,
                       uint16_t* index, int32_t* value) {
  uint32_t next_place = 0;
  for (uint32_t e = 0; e < count; ++e) {
    const uint32_t place = next_place + TakeGap(GapCode(segment.chunk_length - next_place, count - e), reader);
    index[e] = static_cast<uint16_t>(place);
    next_place = place + 1;
  }
  bool valid = true;
  for (uint32_t e = 0; e < count; ++e) {
    valid &= BitsToValue<kKind>(reader.Take(static_cast<int>(value_bits)), value[e]);
  }
  if (reader.Overrun()) {
    return Invalid(s, c, "truncated");
  }
  if (!valid) {
    return Invalid(s, c, kKind == ValueKind::kFloat ? "a value is zero or not finite" : "a value is zero");
  }
  return absl::OkStatus();
}

template <ValueKind kKind>
absl::Status Decode(const PayloadShape& shape, absl::string_view bytes, SparseValues& values) {
  BitReader reader(bytes);
  if (bytes.empty()) {
    return absl::InvalidArgumentError("payload: empty");
  }
  if (const uint64_t version = reader.Take(kVersionBits); version != kVersion) {
    return absl::InvalidArgumentError(absl::StrCat("payload: version ", version, " is unknown; this program reads version ", kVersion));
  }
  size_t chunks = 0;
  for (const SegmentShape& segment : shape.segments) {
    chunks += segment.chunk_count;
  }
  values.scales.resize(shape.segments.size());
  values.chunk_begin.resize(chunks + 1);
  values.chunk_begin[0] = 0;
  uint32_t entries = 0;
  uint32_t* end = values.chunk_begin.data() + 1;
  for (size_t s = 0; s < shape.segments.size(); ++s) {
    const SegmentShape& segment = shape.segments[s];
    const float scale = std::bit_cast<float>(static_cast<uint32_t>(reader.Take(kScaleBits)));
    if (reader.Overrun()) {
      return Invalid(s, "truncated in its scale");
    }
    if (!std::isfinite(scale) || std::signbit(scale)) {
      return Invalid(s, absl::StrCat("scale ", scale, " is not a finite number >= +0"));
    }
    if (scale > 0 && !Keeps(segment)) {
      return Invalid(s, "a scale above zero, but nothing is kept");
    }
    values.scales[s] = scale;
    if (scale == 0) {
      std::fill(end, end + segment.chunk_count, entries);
    } else {
      if (absl::Status status = TakeCounts(segment, s, shape.value_bits, entries, reader, end); !status.ok()) {
        return status;
      }
      const uint32_t total = end[segment.chunk_count - 1];
      values.index.resize(total);
      values.value.resize(total);
      for (uint32_t c = 0; c < segment.chunk_count; ++c) {
        const uint32_t begin = entries;
        entries = end[c];
        if (absl::Status status = TakeChunk<kKind>(segment, s, c, shape.value_bits, entries - begin, reader, values.index.data() + begin,
                                                   values.value.data() + begin);
            !status.ok()) {
          return status;
        }
      }
    }
    end += segment.chunk_count;
  }
  values.index.resize(entries);
  values.value.resize(entries);
  if (reader.left() >= 8) {
    return absl::InvalidArgumentError(absl::StrCat("payload: ", reader.left() / 8, " trailing bytes"));
  }
  if (reader.Take(static_cast<int>(reader.left())) != 0) {
    return absl::InvalidArgumentError("payload: padding bits are not zero");
  }
  return absl::OkStatus();
}

}  // namespace

std::string EncodePayload(const PayloadShape& shape, const SparseValues& values) {
  assert(IsValidShape(shape));
  assert(values.scales.size() == shape.segments.size() && values.index.size() == values.value.size());
  switch (KindOf(shape.value_bits)) {
    case ValueKind::kSmall:
      return Encode<ValueKind::kSmall>(shape, values);
    case ValueKind::kWide:
      return Encode<ValueKind::kWide>(shape, values);
    case ValueKind::kFloat:
      break;
  }
  return Encode<ValueKind::kFloat>(shape, values);
}

absl::Status DecodePayload(const PayloadShape& shape, absl::string_view bytes, SparseValues& values) {
  assert(IsValidShape(shape));
  switch (KindOf(shape.value_bits)) {
    case ValueKind::kSmall:
      return Decode<ValueKind::kSmall>(shape, bytes, values);
    case ValueKind::kWide:
      return Decode<ValueKind::kWide>(shape, bytes, values);
    case ValueKind::kFloat:
      break;
  }
  return Decode<ValueKind::kFloat>(shape, bytes, values);
}

uint64_t MaxPayloadBytes(const PayloadShape& shape) {
  uint64_t bits = kVersionBits;
  for (const SegmentShape& segment : shape.segments) {
    const uint32_t kept = MaxKept(segment);
    const uint64_t indices = std::min(MaxGapBits(segment.chunk_length, kept), kept * MaxIndexBits(segment));
    bits += kScaleBits + 1 + segment.chunk_count * (CountBits(segment) + indices + uint64_t{kept} * shape.value_bits);
  }
  return (bits + 7) / 8;
}

}  // namespace tributary::optim
