// Seeded layouts, options and payloads for property tests. The same on every machine: counters and integers only.
#ifndef TRIBUTARY_TESTS_OPTIM_RANDOM_UPDATES_H_
#define TRIBUTARY_TESTS_OPTIM_RANDOM_UPDATES_H_

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "optim/chunk_plan.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "optim/payload.h"

namespace tributary::optim {

// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // In [low, high].
  int64_t Roll(int64_t low, int64_t high) { return low + static_cast<int64_t>(Next() % static_cast<uint64_t>(high - low + 1)); }
  bool Flip() { return (Next() & 1) != 0; }
  // In (-1, 1), a multiple of 2^-23, towards 0: the sum of two.
  float Small() { return static_cast<float>(Roll(-(1 << 22), 1 << 22) + Roll(-(1 << 22), 1 << 22)) * 0x1p-23f; }

 private:
  uint64_t state_;
};

inline std::vector<float> RandomFloats(Dice& dice, int64_t size, float scale = 1.0f) {
  std::vector<float> values(size);
  for (float& value : values) {
    value = dice.Small() * scale;
  }
  return values;
}

// Scalars, vectors, matrices, convolutions; empty, prime, tiny and large extents; some blocks frozen.
inline Layout RandomLayout(Dice& dice) {
  const std::vector<std::vector<int64_t>> shapes = {{},        {1},       {0, 7},    {5},          {63},           {64},       {97},
                                                    {130},     {4099},    {10007},   {3, 3},       {97, 64},       {128, 192}, {67, 131},
                                                    {1, 5000}, {5000, 1}, {8, 4, 3}, {6, 3, 5, 5}, {64, 16, 3, 3}, {33, 200},  {256, 80},
                                                    {7, 1000}, {17, 300}, {}};
  std::vector<Block> blocks;
  const int64_t count = dice.Roll(1, 7);
  for (int64_t i = 0; i < count; ++i) {
    Block block;
    block.name = absl::StrCat("block.", i);
    block.shape = shapes[dice.Roll(0, static_cast<int64_t>(shapes.size()) - 1)];
    block.frozen = dice.Roll(0, 5) == 0;
    blocks.push_back(std::move(block));
  }
  return *Layout::Create(std::move(blocks));
}

inline OptimizerOptions RandomOptions(Dice& dice) {
  constexpr Mode kModes[] = {Mode::kDemo, Mode::kDistro, Mode::kLocal};
  constexpr uint32_t kBits[] = {1, 2, 4, 8};
  OptimizerOptions options = Defaults(kModes[dice.Roll(0, 2)]);
  options.k = static_cast<uint32_t>(dice.Roll(0, 3) == 0 ? dice.Roll(1, 4096) : dice.Roll(1, 64));
  options.value_bits = kBits[dice.Roll(0, 3)];
  options.domain = dice.Flip() ? Domain::kDct : Domain::kIdentity;
  options.rule = dice.Flip() ? Rule::kSign : Rule::kScaled;
  options.normalize = dice.Flip();
  options.commit_k = static_cast<uint32_t>(dice.Roll(0, 2) == 0 ? 0 : dice.Roll(1, 128));
  options.commit_value_bits = kBits[dice.Roll(0, 3)];
  options.weight_decay = dice.Flip() ? 0.1f : 0.0f;
  return options;
}

inline std::string Describe(const OptimizerOptions& options, const Layout& layout) {
  std::string text =
      absl::StrCat(ModeName(options.mode), " k=", options.k, " bits=", options.value_bits, " dct=", options.domain == Domain::kDct,
                   " sign=", options.rule == Rule::kSign, " normalize=", options.normalize, " commit_k=", options.commit_k,
                   " commit_bits=", options.commit_value_bits, " layout:");
  for (const Block& block : layout.blocks()) {
    absl::StrAppend(&text, block.frozen ? " frozen[" : " [");
    for (const int64_t extent : block.shape) {
      absl::StrAppend(&text, extent, ",");
    }
    absl::StrAppend(&text, "]");
  }
  return text;
}

// Any values that `shape` can hold.
inline SparseValues RandomValues(Dice& dice, const PayloadShape& shape) {
  SparseValues values;
  values.chunk_begin.push_back(0);
  for (const SegmentShape& segment : shape.segments) {
    const size_t before = values.index.size();
    for (uint32_t chunk = 0; chunk < segment.chunk_count; ++chunk) {
      const int64_t kept = dice.Roll(0, 4) == 0 ? 0 : dice.Roll(0, std::min<int64_t>(segment.max_kept, 80));
      std::vector<uint16_t> places;
      while (static_cast<int64_t>(places.size()) < kept) {
        places.push_back(static_cast<uint16_t>(dice.Roll(0, segment.chunk_length - 1)));
        if (static_cast<int64_t>(places.size()) < kept) {
          continue;
        }
        std::sort(places.begin(), places.end());
        places.erase(std::unique(places.begin(), places.end()), places.end());
        if (segment.chunk_length < 2 * kept) {
          break;
        }
      }
      for (const uint16_t place : places) {
        const int64_t max = shape.value_bits == 24 ? (1 << 23) - 1 : int64_t{1} << (shape.value_bits - 1);
        int32_t value = static_cast<int32_t>(dice.Roll(1, std::min<int64_t>(max, (1 << 23) - 1))) * (dice.Flip() ? 1 : -1);
        if (shape.value_bits == 32) {
          const float real = dice.Small();
          value = std::bit_cast<int32_t>(real == 0 ? 1.0f : real);
        }
        values.index.push_back(place);
        values.value.push_back(value);
      }
      values.chunk_begin.push_back(static_cast<uint32_t>(values.index.size()));
    }
    const bool any = values.index.size() > before;
    values.scales.push_back(!any ? 0.0f : shape.value_bits == 32 ? 1.0f : static_cast<float>(dice.Roll(1, 1000)) * 0x1p-16f);
  }
  return values;
}

inline std::string RandomUpdate(Dice& dice, const OptimizerOptions& options, const Layout& layout) {
  const ChunkPlan plan(options, layout);
  return EncodePayload(plan.update_shape(), RandomValues(dice, plan.update_shape()));
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_TESTS_OPTIM_RANDOM_UPDATES_H_
