// That MaxPayloadBytes bounds what it says: the worst support of every chunk, computed from docs/reference/wire_format.md.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "optim/options.h"
#include "optim/payload.h"

namespace tributary::optim {
namespace {

// The code of one gap (docs/reference/wire_format.md): n places left, k entries left.
struct Code {
  uint32_t b = 0, full = 0, rest = 0, width = 0, shorter = 0;

  Code(uint32_t n, uint32_t k) {
    const uint32_t values = n - k + 1;
    if (k > 1) {
      while ((k << (b + 1)) <= values) {
        ++b;
      }
      full = std::min((values - 1) >> b, 15u);
    }
    rest = values - (full << b);
    width = std::bit_width(rest) - 1;
    shorter = (2u << width) - rest;
  }
  // Calls visit(smallest gap, bits) for each group of gaps that cost the same.
  template <typename Visit>
  void ForEachGroup(const Visit& visit) const {
    for (uint32_t q = 0; q < full; ++q) {
      visit(q << b, q + 1 + b);
    }
    visit(full << b, full + width);
    if (shorter < rest) {
      visit((full << b) + shorter, full + width + 1);
    }
  }
};

// worst[n]: most bits that `entries` indices can take in up to n places, given the same of entries - 1. What costs the same is worst where
// it leaves the most places.
std::vector<uint32_t> WorstBits(uint32_t entries, const std::vector<uint32_t>& fewer) {
  std::vector<uint32_t> worst(fewer.size(), 0);
  for (uint32_t n = entries; n < worst.size(); ++n) {
    worst[n] = worst[n - 1];
    Code(n, entries).ForEachGroup([&](uint32_t gap, uint32_t bits) { worst[n] = std::max(worst[n], bits + fewer[n - gap - 1]); });
  }
  return worst;
}

// Index bits in MaxPayloadBytes: eight chunks make its bits bytes.
uint64_t BoundOf(uint32_t length, uint32_t entries) {
  constexpr uint64_t kFixed = 6;  // version, scale and flag, in whole bytes
  return MaxPayloadBytes(PayloadShape{{{8, length, entries}}, 1}) - kFixed - std::bit_width(entries) - entries;
}

TEST(PayloadBoundTest, NoSupportOfAnyChunkTakesMoreIndexBits) {
  std::vector<uint32_t> worst(kChunkSize + 1, 0);
  std::vector<uint64_t> bound(kChunkSize + 1, 0);  // of each length, entry by entry: what BoundOf adds up
  for (uint32_t k = 1; k <= kChunkSize; ++k) {
    worst = WorstBits(k, worst);
    for (uint32_t n = k; n <= kChunkSize; ++n) {
      bound[n] += k == 1 ? std::bit_width(n - 1) : Code(n, k).b + (k <= 16 ? 2 : 3);
      ASSERT_LE(worst[n], bound[n]) << k << " entries in " << n << " places";
    }
    for (const uint32_t n : {k, 1000u, 4095u, 4096u}) {
      if (n >= k && (k < 80 || k % 97 == 0)) {
        ASSERT_EQ(BoundOf(n, k), std::min<uint64_t>(bound[n], k * (15 + std::bit_width(n - 1))));
      }
    }
  }
}

// The support that WorstBits finds, encoded: the computation is about the real encoder.
TEST(PayloadBoundTest, TheWorstSupportsComeNearTheBound) {
  constexpr uint32_t kMost = 64;
  std::vector<std::vector<uint32_t>> worst = {std::vector<uint32_t>(kChunkSize + 1, 0)};
  for (uint32_t k = 1; k <= kMost; ++k) {
    worst.push_back(WorstBits(k, worst.back()));
  }
  for (const uint32_t length : {100u, 4096u}) {
    for (uint32_t k = 1; k <= kMost; ++k) {
      SparseValues values{{1.0f}, {0}, {}, {}};
      for (int chunk = 0; chunk < 8; ++chunk) {
        uint32_t n = length;
        for (uint32_t left = k; left > 0; --left) {
          while (n > left && worst[left][n] == worst[left][n - 1]) {
            --n;
          }
          uint32_t best = 0;
          Code(n, left).ForEachGroup([&](uint32_t gap, uint32_t bits) {
            if (bits + worst[left - 1][n - gap - 1] == worst[left][n]) {
              best = gap;
            }
          });
          // Places that the worst support leaves out lengthen the gap here, which may code a little shorter.
          values.index.push_back(static_cast<uint16_t>(length - n + best));
          values.value.push_back(1);
          n -= best + 1;
        }
        values.chunk_begin.push_back(static_cast<uint32_t>(values.index.size()));
      }
      const PayloadShape shape{{{8, length, k}}, 1};
      const size_t bytes = EncodePayload(shape, values).size();
      EXPECT_LE(bytes, MaxPayloadBytes(shape)) << k << " of " << length;
      if (length == kChunkSize) {
        EXPECT_GE(static_cast<double>(bytes), 0.85 * static_cast<double>(MaxPayloadBytes(shape))) << k;
      }
    }
  }
}

}  // namespace
}  // namespace tributary::optim
