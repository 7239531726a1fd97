#include "optim/chunk_plan.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

using ::testing::ElementsAre;

Layout LayoutOf(std::vector<std::vector<int64_t>> shapes) {
  std::vector<Block> blocks;
  for (auto& shape : shapes) {
    blocks.push_back({.name = absl::StrCat("b", blocks.size()), .shape = std::move(shape)});
  }
  return *Layout::Create(std::move(blocks));
}

std::vector<std::vector<int64_t>> Tiles(const ChunkPlan& plan) {
  std::vector<std::vector<int64_t>> tiles;
  for (const Segment& segment : plan.segments()) {
    tiles.push_back({segment.chunk_count, segment.rows, segment.cols});
  }
  return tiles;
}

TEST(EdgeForTest, IsThePublishedDivisorWhereThatCompresses) {
  EXPECT_EQ(EdgeFor(1), 1);
  EXPECT_EQ(EdgeFor(63), 63);
  EXPECT_EQ(EdgeFor(64), 64);
  EXPECT_EQ(EdgeFor(128), 64);
  EXPECT_EQ(EdgeFor(130), 26);
  EXPECT_EQ(EdgeFor(50257), 29);
}

TEST(EdgeForTest, PadsEqualTilesWhereDivisorsAreTooSmall) {
  EXPECT_EQ(EdgeFor(97), 49);
  EXPECT_EQ(EdgeFor(67), 34);
  EXPECT_EQ(EdgeFor(134), 45);
  EXPECT_EQ(EdgeFor(10007), 64);
}

TEST(ChunkPlanTest, DemoCutsEveryBlockByItself) {
  const ChunkPlan plan(Defaults(Mode::kDemo), LayoutOf({{}, {130}, {0, 3}, {128, 192}, {64, 16, 3, 3}, {97}}));
  EXPECT_THAT(Tiles(plan), ElementsAre(ElementsAre(1, 1, 1), ElementsAre(5, 1, 26), ElementsAre(6, 64, 64), ElementsAre(3, 64, 48),
                                       ElementsAre(2, 1, 49)));
  EXPECT_EQ(plan.update_shape().segments[0].max_kept, 1u);
  EXPECT_EQ(plan.update_shape().segments[1].max_kept, 26u);
  EXPECT_EQ(plan.update_shape().segments[2].max_kept, 32u);
}

TEST(ChunkPlanTest, SmallBlocksShareChunks) {
  const ChunkPlan plan(Defaults(Mode::kDistro), LayoutOf({{128}, {128, 128}, {4000}, {64}, {}}));
  // 4193 parameters in two chunks of 2097, folded into rows of 64; last, so that segments follow the layout.
  EXPECT_THAT(Tiles(plan), ElementsAre(ElementsAre(4, 64, 64), ElementsAre(2, 33, 64)));
  EXPECT_EQ(plan.update_shape().segments[1].max_kept, 17u);  // 32 * 2112 / 4096, rounded
}

TEST(ChunkPlanTest, NarrowMatricesAreFlatRuns) {
  const ChunkPlan plan(Defaults(Mode::kDistro), LayoutOf({{5000, 1}, {7, 1000}}));
  EXPECT_THAT(Tiles(plan), ElementsAre(ElementsAre(2, 40, 64), ElementsAre(2, 55, 64)));
}

TEST(ChunkPlanTest, IdentityChunksAreFlat) {
  OptimizerOptions options = Defaults(Mode::kLocal);
  const ChunkPlan plan(options, LayoutOf({{128, 128}, {10007}, {9}}));
  EXPECT_THAT(Tiles(plan), ElementsAre(ElementsAre(4, 1, 4096), ElementsAre(3, 1, 3336), ElementsAre(1, 1, 9)));
}

TEST(ChunkPlanTest, CommitOfAUnionMayHoldEveryPlace) {
  OptimizerOptions options = Defaults(Mode::kDistro);
  options.commit_k = 0;
  const ChunkPlan plan(options, LayoutOf({{128, 128}}));
  EXPECT_EQ(plan.commit_shape().segments[0].max_kept, 4096u);
}

TEST(ChunkPlanTest, EveryTrainableParameterIsInExactlyOneChunkAndNoOther) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    Dice dice(seed);
    const Layout layout = RandomLayout(dice);
    const OptimizerOptions options = RandomOptions(dice);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(options, layout)));
    const ChunkPlan plan(options, layout);
    std::vector<int> visits(layout.size(), 0);
    int64_t places = 0;
    for (const Segment& segment : plan.segments()) {
      EXPECT_LE(segment.chunk_length(), kChunkSize);
      EXPECT_EQ(segment.first_place, places);
      places += segment.chunk_count * segment.chunk_length();
      for (int64_t chunk = 0; chunk < segment.chunk_count; ++chunk) {
        int64_t covered = 0;
        int32_t next = 0;
        segment.ForEachPatch(chunk, [&](const Patch& patch) {
          EXPECT_GE(patch.place, next);
          EXPECT_LE(patch.rows, segment.matrix_rows > 0 ? segment.rows : 1);
          next = patch.place + patch.cols;
          EXPECT_LE(next + (patch.rows - 1) * kTileEdge, kChunkSize);
          covered += int64_t{patch.rows} * patch.cols;
          for (int64_t row = 0; row < patch.rows; ++row) {
            for (int64_t i = 0; i < patch.cols; ++i) {
              ++visits[patch.offset + row * patch.stride + i];
            }
          }
        });
        EXPECT_EQ(segment.IsPadded(chunk), covered < segment.chunk_length());
        EXPECT_EQ(plan.SegmentOf(segment.first_chunk + chunk), static_cast<size_t>(&segment - plan.segments().data()));
      }
    }
    EXPECT_EQ(plan.places(), places);
    for (const Block& block : layout.blocks()) {
      for (int64_t i = 0; i < block.size; ++i) {
        ASSERT_EQ(visits[block.offset + i], block.frozen ? 0 : 1);
      }
    }
  }
}

}  // namespace
}  // namespace tributary::optim
