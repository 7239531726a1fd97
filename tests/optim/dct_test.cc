#include "optim/dct.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <numbers>
#include <string>

#include "common/checksum.h"
#include "gtest/gtest.h"
#include "tests/optim/random_updates.h"
#include "tests/optim/reference_inverse.h"

namespace tributary::optim {
namespace {

// F[i, b] from the definition, in the widest type there is.
long double Basis(int edge, int frequency, int position) {
  const long double scale = std::sqrt((frequency == 0 ? 1.0L : 2.0L) / edge);
  return scale * std::cos(std::numbers::pi_v<long double> * (2 * position + 1) * frequency / (2.0L * edge));
}

struct Components {
  std::vector<uint16_t> index;
  std::vector<int32_t> value;
};

Components RandomComponents(Dice& dice, int rows, int cols, int64_t count, int32_t max) {
  Components components;
  for (int i = 0; i < rows * cols; ++i) {
    if (dice.Roll(0, rows * cols - 1) >= count) {
      continue;
    }
    const auto value = static_cast<int32_t>(dice.Roll(1, max));
    components.index.push_back(static_cast<uint16_t>(i));
    components.value.push_back(dice.Flip() ? value : -value);
  }
  return components;
}

class ForEachInstructionSet : public ::testing::TestWithParam<InstructionSet> {
 protected:
  void SetUp() override {
    if (!HasInstructionSet(GetParam())) {
      GTEST_SKIP() << "this processor does not have the instruction set";
    }
    UseInstructionSet(GetParam());
  }
  void TearDown() override {
    for (InstructionSet set : {InstructionSet::kBaseline, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
      if (HasInstructionSet(set)) {
        UseInstructionSet(set);
      }
    }
  }
  std::unique_ptr<DctWorkspace> work_ = std::make_unique<DctWorkspace>();
  std::unique_ptr<Tile> tile_ = std::make_unique<Tile>();
  std::unique_ptr<Tile> spectrum_ = std::make_unique<Tile>();
};

INSTANTIATE_TEST_SUITE_P(, ForEachInstructionSet,
                         ::testing::Values(InstructionSet::kBaseline, InstructionSet::kAvx2, InstructionSet::kAvx512), [](const auto& set) {
                           return std::string(std::array{"Baseline", "Avx2", "Avx512"}[static_cast<int>(set.param)]);
                         });

TEST(DctBasisTest, NoEntryIsNearARoundingBoundary) {
  // The table comes from the machine's libm, whose errors are some 1e-16 of 1, here 1e-9: the margin is ten thousand times that.
  long double margin = 1;
  for (int edge = 1; edge <= kTileEdge; ++edge) {
    for (int b = 0; b < edge; ++b) {
      for (int i = 0; i < edge; ++i) {
        const long double exact = std::ldexp(Basis(edge, b, i), kBasisBits);
        ASSERT_EQ(BasisOf(edge).integer[b][i], static_cast<double>(std::round(exact)));
        margin = std::min(margin, std::fabs(std::fabs(exact - std::floor(exact)) - 0.5L));
      }
    }
  }
  RecordProperty("margin", std::to_string(static_cast<double>(margin)));
  EXPECT_GT(margin, 1e-5L);
}

TEST(DctBasisTest, TablesAreTheSameOnEveryMachine) {
  std::string bytes;
  for (int edge = 1; edge <= kTileEdge; ++edge) {
    for (int b = 0; b < edge; ++b) {
      for (int i = 0; i < edge; ++i) {
        const auto entry = static_cast<int32_t>(BasisOf(edge).integer[b][i]);
        for (int shift = 0; shift < 32; shift += 8) {
          bytes.push_back(static_cast<char>(static_cast<uint32_t>(entry) >> shift));
        }
      }
    }
  }
  EXPECT_EQ(Crc32c(bytes), 0xa1f39722u) << "frozen: replicas of different versions must decode the same commits";
}

TEST_P(ForEachInstructionSet, InverseIsTheDefinitionBitForBit) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Dice dice(seed);
    const int rows = dice.Flip() ? 64 : static_cast<int>(dice.Roll(1, 64));
    const int cols = dice.Flip() ? 64 : static_cast<int>(dice.Roll(1, 64));
    constexpr int32_t kMax[] = {1, 2, 8, 128, 5000, (1 << 23) - 1};
    const int32_t max = kMax[dice.Roll(0, 5)];
    const Components components = RandomComponents(dice, rows, cols, dice.Flip() ? dice.Roll(1, 40) : dice.Roll(1, rows * cols), max);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", components.index.size(), " of ", rows, " x ", cols, " up to ", max));
    InverseDct(rows, cols, components.index, components.value, *work_, *tile_);
    const std::vector<float> expected = DefinedInverse(rows, cols, components.index, components.value);
    for (int i = 0; i < rows; ++i) {
      ASSERT_EQ(std::memcmp(tile_->at.data() + i * kTileEdge, expected.data() + i * cols, cols * sizeof(float)), 0) << "row " << i;
    }
  }
}

TEST_P(ForEachInstructionSet, InverseHoldsTheLargestComponentsThatAPayloadCanHave) {
  for (const auto& [rows, cols] : std::vector<std::pair<int, int>>{{64, 64}, {1, 1}, {1, 64}, {64, 1}, {2, 2}}) {
    Components components;
    for (int i = 0; i < rows * cols; ++i) {
      components.index.push_back(static_cast<uint16_t>(i));
      components.value.push_back((1 << 23) - 1);
    }
    InverseDct(rows, cols, components.index, components.value, *work_, *tile_);
    const std::vector<float> expected = DefinedInverse(rows, cols, components.index, components.value);
    EXPECT_EQ(tile_->at[0], expected[0]) << rows << " x " << cols;
    EXPECT_EQ(tile_->at[(rows - 1) * kTileEdge + cols - 1], expected.back()) << rows << " x " << cols;
  }
}

TEST_P(ForEachInstructionSet, ForwardIsTheDefinition) {
  for (const auto& [rows, cols] :
       std::vector<std::pair<int, int>>{{64, 64}, {1, 1}, {1, 64}, {64, 1}, {2, 3}, {49, 49}, {64, 48}, {26, 64}, {63, 61}, {33, 64}}) {
    Dice dice(rows * 100 + cols);
    tile_->at.fill(0.0f);
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < cols; ++j) {
        tile_->at[i * kTileEdge + j] = dice.Small();
      }
    }
    ForwardDct(rows, cols, *tile_, *work_, *spectrum_);
    for (int d = 0; d < cols; ++d) {
      std::vector<long double> column(rows, 0);
      for (int i = 0; i < rows; ++i) {
        for (int j = 0; j < cols; ++j) {
          column[i] += tile_->at[i * kTileEdge + j] * Basis(cols, d, j);
        }
      }
      for (int b = 0; b < rows; ++b) {
        long double expected = 0;
        for (int i = 0; i < rows; ++i) {
          expected += column[i] * Basis(rows, b, i);
        }
        ASSERT_NEAR(spectrum_->at[d * kTileEdge + b], static_cast<double>(expected), 1e-5)
            << rows << " x " << cols << ": " << b << ", " << d;
      }
    }
    for (int d = 0; d < cols; ++d) {
      for (int b = rows; b < kTileEdge; ++b) {
        ASSERT_EQ(spectrum_->at[d * kTileEdge + b], 0.0f);
      }
    }
  }
}

TEST_P(ForEachInstructionSet, InverseOfFp32ComponentsUndoesForward) {
  for (const auto& [rows, cols] : std::vector<std::pair<int, int>>{{64, 64}, {49, 34}, {1, 26}}) {
    Dice dice(7);
    tile_->at.fill(0.0f);
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < cols; ++j) {
        tile_->at[i * kTileEdge + j] = dice.Small();
      }
    }
    ForwardDct(rows, cols, *tile_, *work_, *spectrum_);
    std::vector<uint16_t> index;
    std::vector<float> value;
    for (int i = 0; i < rows * cols; ++i) {
      index.push_back(static_cast<uint16_t>(i));
      value.push_back(spectrum_->at[i % cols * kTileEdge + i / cols]);
    }
    auto back = std::make_unique<Tile>();
    InverseDct(rows, cols, index, value, *work_, *back);
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < cols; ++j) {
        ASSERT_NEAR(back->at[i * kTileEdge + j], tile_->at[i * kTileEdge + j], 1e-5);
      }
    }
  }
}

}  // namespace
}  // namespace tributary::optim
