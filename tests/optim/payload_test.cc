#include "optim/payload.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "common/checksum.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

int32_t RandomValue(uint32_t value_bits, std::mt19937_64& rng) {
  const bool negative = (rng() & 1) != 0;
  if (value_bits == 32) {
    const float value = std::ldexp(1.0f + static_cast<float>(rng() % 1000) / 1000.0f, static_cast<int>(rng() % 200) - 100);
    return std::bit_cast<int32_t>(negative ? -value : value);
  }
  const int64_t largest = value_bits == 24 ? (1 << 23) - 1 : 1 << (value_bits - 1);
  const int32_t magnitude = static_cast<int32_t>(1 + rng() % largest);
  return negative ? -magnitude : magnitude;
}

// Ascending places of a random support.
std::vector<uint16_t> RandomSupport(uint32_t length, uint32_t count, std::mt19937_64& rng) {
  std::vector<uint16_t> places(length);
  std::iota(places.begin(), places.end(), 0);
  for (uint32_t i = 0; i < count; ++i) {
    std::swap(places[i], places[i + rng() % (length - i)]);
  }
  places.resize(count);
  std::sort(places.begin(), places.end());
  return places;
}

// `full`: every chunk keeps as much as it may.
SparseValues RandomValues(const PayloadShape& shape, bool full, std::mt19937_64& rng) {
  SparseValues values;
  values.chunk_begin.push_back(0);
  for (const SegmentShape& segment : shape.segments) {
    const uint32_t kept = std::min(segment.max_kept, segment.chunk_length);
    const size_t before = values.index.size();
    for (uint32_t c = 0; c < segment.chunk_count; ++c) {
      const uint32_t count = full ? kept : static_cast<uint32_t>(rng() % (kept + 1));
      for (uint16_t place : RandomSupport(segment.chunk_length, count, rng)) {
        values.index.push_back(place);
        values.value.push_back(RandomValue(shape.value_bits, rng));
      }
      values.chunk_begin.push_back(static_cast<uint32_t>(values.index.size()));
    }
    values.scales.push_back(values.index.size() == before ? 0.0f : 0.25f + static_cast<float>(rng() % 100));
  }
  return values;
}

PayloadShape RandomShape(std::mt19937_64& rng) {
  constexpr uint32_t kBits[] = {1, 2, 4, 8, 24, 32};
  PayloadShape shape;
  shape.value_bits = kBits[rng() % std::size(kBits)];
  for (uint64_t s = rng() % 4; s > 0; --s) {
    const uint32_t length = static_cast<uint32_t>(1 + rng() % (rng() % 2 == 0 ? 20 : 4096));
    shape.segments.push_back({static_cast<uint32_t>(rng() % 5), length, static_cast<uint32_t>(rng() % (length + 3))});
  }
  return shape;
}

bool Same(const SparseValues& a, const SparseValues& b) {
  return a.scales == b.scales && a.chunk_begin == b.chunk_begin && a.index == b.index && a.value == b.value;
}

// Everything a decoder accepts must be the canonical encoding of what it decoded.
void ExpectRejectedOrCanonical(const PayloadShape& shape, const std::string& bytes) {
  SparseValues decoded;
  if (DecodePayload(shape, bytes, decoded).ok()) {
    EXPECT_EQ(EncodePayload(shape, decoded), bytes);
  }
}

TEST(PayloadTest, DecodesWhatItEncodedForRandomShapesAndValues) {
  for (uint64_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 rng(seed);
    const PayloadShape shape = RandomShape(rng);
    const SparseValues values = RandomValues(shape, seed % 3 == 0, rng);
    const std::string bytes = EncodePayload(shape, values);
    EXPECT_LE(bytes.size(), MaxPayloadBytes(shape));
    SparseValues decoded;
    ASSERT_TRUE(DecodePayload(shape, bytes, decoded).ok()) << DecodePayload(shape, bytes, decoded);
    EXPECT_TRUE(Same(values, decoded));
  }
}

TEST(PayloadTest, ReusesTheMemoryOfAnEarlierDecodeWithoutMixingItIn) {
  std::mt19937_64 rng(5);
  SparseValues decoded;
  for (int i = 0; i < 50; ++i) {
    const PayloadShape shape = RandomShape(rng);
    const SparseValues values = RandomValues(shape, false, rng);
    ASSERT_TRUE(DecodePayload(shape, EncodePayload(shape, values), decoded).ok());
    EXPECT_TRUE(Same(values, decoded));
  }
}

TEST(PayloadTest, EveryTruncationIsRejected) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 rng(seed);
    const PayloadShape shape = RandomShape(rng);
    const std::string bytes = EncodePayload(shape, RandomValues(shape, false, rng));
    SparseValues decoded;
    for (size_t size = 0; size < bytes.size(); ++size) {
      EXPECT_EQ(DecodePayload(shape, bytes.substr(0, size), decoded).code(), absl::StatusCode::kInvalidArgument);
    }
    EXPECT_FALSE(DecodePayload(shape, bytes + '\0', decoded).ok());
    EXPECT_FALSE(DecodePayload(shape, bytes + '\1', decoded).ok());
  }
}

TEST(PayloadTest, EveryBitFlipIsRejectedOrIsAnotherCanonicalPayload) {
  for (uint64_t seed = 0; seed < 120; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 rng(seed);
    const PayloadShape shape = RandomShape(rng);
    std::string bytes = EncodePayload(shape, RandomValues(shape, seed % 2 == 0, rng));
    if (bytes.size() > 600) {
      continue;  // the cost grows with the square
    }
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
      ExpectRejectedOrCanonical(shape, bytes);
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    }
  }
}

TEST(PayloadTest, RandomBytesAreRejectedOrCanonical) {
  std::mt19937_64 rng(11);
  int accepted = 0;
  for (int i = 0; i < 40000; ++i) {
    // Short shapes with few padding bits, so that many inputs come through.
    const PayloadShape shape = {
        {{static_cast<uint32_t>(1 + rng() % 3), static_cast<uint32_t>(1 + rng() % 12), static_cast<uint32_t>(rng() % 6)}},
        rng() % 2 == 0 ? 1u : 2u};
    std::string bytes(6 + rng() % 6, '\0');
    for (char& byte : bytes) {
      byte = static_cast<char>(rng());
    }
    bytes[0] = 1;
    bytes[4] = static_cast<char>(bytes[4] & 0x7f);
    SparseValues decoded;
    if (!DecodePayload(shape, bytes, decoded).ok()) {
      continue;
    }
    ++accepted;
    ASSERT_EQ(EncodePayload(shape, decoded), bytes);
  }
  EXPECT_GT(accepted, 500);
}

TEST(PayloadTest, IndicesOfRandomSupportsTakeAtMostFivePercentMoreThanTheBoundForEveryKUpTo64) {
  constexpr uint32_t kChunks = 400;
  double worst = 0;
  for (uint32_t k = 1; k <= 64; ++k) {
    std::mt19937_64 rng(k);
    const PayloadShape shape = {{{kChunks, 4096, k}}, 1};
    const std::string bytes = EncodePayload(shape, RandomValues(shape, true, rng));
    const double fixed = 8 + 32 + 1 + static_cast<double>(kChunks) * k;  // version, scale, flag, one bit for each value
    const double bits = (static_cast<double>(bytes.size()) * 8 - fixed) / kChunks;
    const double bound = (std::lgamma(4097.0) - std::lgamma(k + 1.0) - std::lgamma(4097.0 - k)) / std::log(2.0);
    EXPECT_LE(bits, bound * 1.05) << "k = " << k;
    worst = std::max(worst, bits / bound);
  }
  RecordProperty("index_bits_over_bound", std::to_string(worst));
  EXPECT_LE(worst, 1.02);  // as the header of payload.cc claims, with room for chance
}

TEST(PayloadTest, TheBoundHoldsForTheSupportsThatCodeWorst) {
  for (uint32_t length : {1u, 2u, 7u, 64u, 1000u, 4096u}) {
    for (uint32_t kept : {1u, 2u, 3u, 8u, 33u, 512u, 4096u}) {
      const PayloadShape shape = {{{1, length, kept}}, 8};
      const uint32_t count = std::min(length, kept);
      for (uint32_t start : {0u, (length - count) / 2, length - count}) {
        for (uint32_t split = 0; split <= count; split += std::max(1u, count / 7)) {
          // Some entries at the front, the others from `start` on: the longest gaps come where short ones are expected.
          SparseValues values;
          values.scales = {1};
          values.chunk_begin = {0, count};
          for (uint32_t e = 0; e < count; ++e) {
            values.index.push_back(static_cast<uint16_t>(e < split ? e : start + e));
            values.value.push_back(-128);
          }
          const std::string bytes = EncodePayload(shape, values);
          EXPECT_LE(bytes.size(), MaxPayloadBytes(shape));
          SparseValues decoded;
          ASSERT_TRUE(DecodePayload(shape, bytes, decoded).ok());
          EXPECT_TRUE(Same(values, decoded));
        }
      }
    }
  }
}

// The worked example of docs/reference/wire_format.md.
TEST(PayloadTest, TheExampleOfTheDocumentHasItsBytes) {
  const PayloadShape shape = {{{2, 16, 3}, {1, 8, 2}}, 2};
  SparseValues values;
  values.scales = {0.5f, 0.0f};
  values.chunk_begin = {0, 3, 4, 4};
  values.index = {1, 4, 15, 9};
  values.value = {1, -2, 2, -1};
  const std::string bytes = EncodePayload(shape, values);
  EXPECT_EQ(absl::BytesToHexString(bytes), "010000003f4e7c360300000000");
}

// Knuth's 64-bit linear congruential generator, as in wire_format_reference.py.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed) {}
  uint32_t Draw(uint32_t bound) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>((state_ >> 33) % bound);
  }

 private:
  uint64_t state_;
};

// wire_format_reference.py writes these updates from the document alone, and expects the same hash.
TEST(PayloadTest, AnIndependentWriterGivesTheSameBytes) {
  Sha256Hasher hasher;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    constexpr uint32_t kBits[] = {1, 2, 4, 8, 24};
    Numbers numbers(seed);
    PayloadShape shape;
    shape.value_bits = kBits[seed % 5];
    const uint32_t largest = shape.value_bits == 24 ? (1 << 23) - 1 : 1 << (shape.value_bits - 1);
    SparseValues values;
    values.chunk_begin.push_back(0);
    for (uint32_t s = 1 + numbers.Draw(3); s > 0; --s) {
      SegmentShape segment;
      segment.chunk_count = numbers.Draw(4);
      segment.chunk_length = 1 + numbers.Draw(numbers.Draw(2) != 0 ? 4096 : 16);
      segment.max_kept = numbers.Draw(std::min(segment.chunk_length + 2, 80u));
      const uint32_t kept = std::min(segment.max_kept, segment.chunk_length);
      const bool full = numbers.Draw(2) == 1;
      const size_t before = values.index.size();
      for (uint32_t c = 0; c < segment.chunk_count; ++c) {
        uint32_t needed = full ? kept : numbers.Draw(kept + 1);
        for (uint32_t place = 0; place < segment.chunk_length; ++place) {
          if (numbers.Draw(segment.chunk_length - place) >= needed) {
            continue;
          }
          const int32_t magnitude = static_cast<int32_t>(1 + numbers.Draw(largest));
          values.index.push_back(static_cast<uint16_t>(place));
          values.value.push_back(numbers.Draw(2) != 0 ? -magnitude : magnitude);
          --needed;
        }
        values.chunk_begin.push_back(static_cast<uint32_t>(values.index.size()));
      }
      shape.segments.push_back(segment);
      values.scales.push_back(values.index.size() == before ? 0.0f : 1.5f);
    }
    hasher.Update(EncodePayload(shape, values));
  }
  EXPECT_EQ(DigestHex(hasher.Finish()), "40b0ff9b51bff01fec237652a1dbea6d26357189aaafcd2522ca90b25dea8e07");
}

SparseValues OneEntry(float scale, uint16_t index, int32_t value) {
  return {{scale}, {0, 1}, {index}, {value}};
}

std::string WithScale(std::string bytes, uint32_t bits) {
  for (int i = 0; i < 4; ++i) {
    bytes[1 + i] = static_cast<char>(bits >> (8 * i));
  }
  return bytes;
}

absl::Status DecodeStatus(const PayloadShape& shape, const std::string& bytes) {
  SparseValues decoded;
  return DecodePayload(shape, bytes, decoded);
}

TEST(PayloadTest, AScaleThatIsNegativeOrNotFiniteIsRejected) {
  const PayloadShape shape = {{{1, 64, 1}}, 4};
  const std::string bytes = EncodePayload(shape, OneEntry(1, 5, -3));
  ASSERT_TRUE(DecodeStatus(shape, bytes).ok());
  for (uint32_t bits : {0x80000000u, 0xbf800000u, 0x7f800000u, 0xff800000u, 0x7fc00000u}) {
    EXPECT_THAT(DecodeStatus(shape, WithScale(bytes, bits)).message(), HasSubstr("segment 0: scale"));
  }
  // The smallest number above zero is a scale like any other.
  EXPECT_TRUE(DecodeStatus(shape, WithScale(bytes, 1)).ok());
}

TEST(PayloadTest, AScaleOfZeroWithValuesIsRejected) {
  const PayloadShape shape = {{{1, 64, 1}}, 4};
  EXPECT_THAT(DecodeStatus(shape, WithScale(EncodePayload(shape, OneEntry(1, 5, -3)), 0)).message(), HasSubstr("trailing"));
}

TEST(PayloadTest, AScaleAboveZeroForNothingIsRejected) {
  const PayloadShape shape = {{{2, 64, 3}}, 4};
  // Version, scale 1, flag 0, two counts of zero.
  EXPECT_THAT(DecodeStatus(shape, std::string("\x01\x00\x00\x80\x3f\x00", 6)).message(), HasSubstr("nothing is kept"));
  EXPECT_THAT(DecodeStatus({{{0, 64, 3}}, 4}, std::string("\x01\x00\x00\x80\x3f\x00", 6)).message(), HasSubstr("nothing is kept"));
  EXPECT_THAT(DecodeStatus({{{2, 64, 0}}, 4}, std::string("\x01\x00\x00\x80\x3f\x00", 6)).message(), HasSubstr("nothing is kept"));
}

TEST(PayloadTest, CountsOfChunksThatAreAllFullAreRejected) {
  const PayloadShape shape = {{{1, 1, 1}}, 1};
  // One place, one entry: flag 1, no index bits, one sign bit.
  ASSERT_TRUE(DecodeStatus(shape, std::string("\x01\x00\x00\x80\x3f\x01", 6)).ok());
  // Flag 0, count 1, sign bit.
  EXPECT_THAT(DecodeStatus(shape, std::string("\x01\x00\x00\x80\x3f\x02", 6)).message(), HasSubstr("all chunks are full"));
}

TEST(PayloadTest, MoreEntriesThanAChunkMayKeepAreRejected) {
  const PayloadShape shape = {{{1, 64, 2}}, 1};
  // Flag 0, count 3.
  EXPECT_THAT(DecodeStatus(shape, std::string("\x01\x00\x00\x80\x3f\x06\x00\x00", 8)).message(), HasSubstr("chunk 0: 3 entries"));
}

TEST(PayloadTest, PaddingThatIsNotZeroIsRejected) {
  const PayloadShape shape = {{{1, 1, 1}}, 1};
  EXPECT_THAT(DecodeStatus(shape, std::string("\x01\x00\x00\x80\x3f\x81", 6)).message(), HasSubstr("padding"));
}

TEST(PayloadTest, AnUnknownVersionIsRejected) {
  EXPECT_THAT(DecodeStatus({{}, 1}, "\x02").message(), HasSubstr("version 2"));
  EXPECT_THAT(DecodeStatus({{}, 1}, "").message(), HasSubstr("empty"));
  EXPECT_TRUE(DecodeStatus({{}, 1}, "\x01").ok());
}

TEST(PayloadTest, AWideValueOfZeroIsRejected) {
  const PayloadShape shape = {{{1, 1, 1}}, 24};
  const std::string bytes = EncodePayload(shape, OneEntry(1, 0, 1));
  ASSERT_EQ(bytes.size(), 9u);
  std::string zero = bytes;
  zero[5] = static_cast<char>(zero[5] & ~4);  // the magnitude's only set bit: after the flag and the sign
  EXPECT_THAT(DecodeStatus(shape, zero).message(), HasSubstr("a value is zero"));
}

TEST(PayloadTest, AFloatValueThatIsZeroOrNotFiniteIsRejected) {
  const PayloadShape shape = {{{1, 1, 1}}, 32};
  for (uint32_t bits : {0x00000000u, 0x80000000u, 0x7f800000u, 0xff800000u, 0x7fc00001u}) {
    std::string bytes("\x01\x00\x00\x80\x3f", 5);
    const uint64_t tail = 1 | (uint64_t{bits} << 1);
    for (int i = 0; i < 5; ++i) {
      bytes.push_back(static_cast<char>(tail >> (8 * i)));
    }
    EXPECT_THAT(DecodeStatus(shape, bytes).message(), HasSubstr("zero or not finite"));
  }
}

TEST(PayloadTest, TheExtremesOfEveryValueWidthComeBack) {
  for (uint32_t bits : {1u, 2u, 4u, 8u, 24u}) {
    const int32_t largest = bits == 24 ? (1 << 23) - 1 : 1 << (bits - 1);
    const PayloadShape shape = {{{1, 64, 4}}, bits};
    const SparseValues values = {{1}, {0, 4}, {0, 1, 62, 63}, {largest, -largest, 1, -1}};
    SparseValues decoded;
    ASSERT_TRUE(DecodePayload(shape, EncodePayload(shape, values), decoded).ok());
    EXPECT_TRUE(Same(values, decoded));
  }
}

TEST(PayloadTest, MemoryIsNotTakenForEntriesThatTheBytesCannotHold) {
  const PayloadShape shape = {{{1u << 16, 4096, 4096}}, 8};
  SparseValues decoded;
  // Claims, in one bit, that all 2^28 places are kept.
  const absl::Status status = DecodePayload(shape, std::string("\x01\x00\x00\x80\x3f\xff\xff\xff", 8), decoded);
  EXPECT_THAT(status.message(), HasSubstr("truncated"));
  EXPECT_LT(decoded.index.capacity(), 1000u);
}

TEST(PayloadTest, ASegmentWithoutEntriesCostsItsScaleAlone) {
  const PayloadShape shape = {{{100, 4096, 32}, {0, 0, 0}}, 1};
  SparseValues values;
  values.scales = {0, 0};
  values.chunk_begin.assign(101, 0);
  const std::string bytes = EncodePayload(shape, values);
  EXPECT_EQ(bytes.size(), 9u);
  SparseValues decoded;
  ASSERT_TRUE(DecodePayload(shape, bytes, decoded).ok());
  EXPECT_TRUE(Same(values, decoded));
}

}  // namespace
}  // namespace tributary::optim
