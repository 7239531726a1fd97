#include "optim/budget.h"

#include <cmath>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/aggregator.h"
#include "optim/encoder.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

Layout Matrix(int64_t rows, int64_t cols) {
  return *Layout::Create({{"w", {rows, cols}}, {"b", {cols}}});
}

uint64_t Longest(const OptimizerOptions& options, const Layout& layout) {
  const PayloadBounds bounds = MaxPayloadBytes(options, layout);
  return std::max(bounds.update, bounds.commit);
}

TEST(BudgetTest, DistroKeepsAsManyComponentsAsFit) {
  const Layout layout = Matrix(640, 512);
  for (const uint64_t bytes : {2000u, 5000u, 20000u, 100000u}) {
    OptimizerOptions options = *FitBudget(Defaults(Mode::kDistro), layout, bytes);
    EXPECT_EQ(options.commit_k, options.k);
    EXPECT_EQ(options.local_steps, 1u);
    EXPECT_LE(Longest(options, layout), bytes);
    ++options.k;
    ++options.commit_k;
    EXPECT_GT(Longest(options, layout), bytes);
  }
  EXPECT_EQ(FitBudget(Defaults(Mode::kDistro), layout, 1 << 30)->k, kChunkSize);
}

TEST(BudgetTest, LocalTakesTwoStepsWhereTheyLeaveEnoughComponentsAndMoreWhereTheyDoNot) {
  const Layout layout = Matrix(640, 512);
  OptimizerOptions least = Defaults(Mode::kLocal);
  least.k = least.commit_k = kLocalLeastK;
  const uint64_t round = Longest(least, layout);

  const OptimizerOptions wide = *FitBudget(Defaults(Mode::kLocal), layout, round);
  EXPECT_EQ(wide.local_steps, 2u);
  EXPECT_GT(wide.k, 100u);

  const OptimizerOptions narrow = *FitBudget(Defaults(Mode::kLocal), layout, round / 10);
  EXPECT_EQ(narrow.local_steps, 11u);  // round / 10 was rounded down
  EXPECT_GE(narrow.k, kLocalLeastK);
  EXPECT_LT(narrow.k, 80u);

  const OptimizerOptions scarce = *FitBudget(Defaults(Mode::kLocal), layout, round / 200);
  EXPECT_EQ(scarce.local_steps, kLocalMostSteps);
  EXPECT_GT(scarce.k, 1u);
  EXPECT_LT(scarce.k, kLocalLeastK);
}

TEST(BudgetTest, DenseModesExchangeAsOftenAsTheyMay) {
  const Layout layout = *Layout::Create({{"w", {1000}}});
  for (const Mode mode : {Mode::kFedAvg, Mode::kDiLoCo}) {
    EXPECT_EQ(FitBudget(Defaults(mode), layout, 4001)->local_steps, 1u);
    EXPECT_EQ(FitBudget(Defaults(mode), layout, 4000)->local_steps, 2u);
    EXPECT_EQ(FitBudget(Defaults(mode), layout, 100)->local_steps, 41u);
  }
}

TEST(BudgetTest, TheLeastBudgetThatARefusalNamesIsMet) {
  const Layout layout = Matrix(640, 512);
  for (const Mode mode : {Mode::kDistro, Mode::kLocal, Mode::kFedAvg, Mode::kDiLoCo, Mode::kAllReduce, Mode::kDemo, Mode::kSignSgd}) {
    const absl::Status refusal = FitBudget(Defaults(mode), layout, 1).status();
    ASSERT_EQ(refusal.code(), absl::StatusCode::kInvalidArgument) << ModeName(mode);
    // The largest number in the message.
    const std::string text(refusal.message());
    uint64_t least = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      if (std::isdigit(static_cast<unsigned char>(text[i])) != 0) {
        least = std::max<uint64_t>(least, std::stoull(text.substr(i)));
      }
    }
    EXPECT_TRUE(FitBudget(Defaults(mode), layout, least).ok()) << text;
    EXPECT_FALSE(FitBudget(Defaults(mode), layout, least - 1).ok()) << text;
  }
}

TEST(BudgetTest, ModesWithNothingToChooseAreToldSo) {
  const Layout layout = Matrix(64, 64);
  for (const Mode mode : {Mode::kAllReduce, Mode::kDemo, Mode::kSignSgd}) {
    EXPECT_THAT(std::string(FitBudget(Defaults(mode), layout, 100).status().message()), HasSubstr("leaves nothing for a budget to choose"));
  }
}

// Directions whose largest components lie at random, crowd at the start of every chunk (in either domain), or are few.
std::vector<float> SomeDirection(Dice& dice, int64_t size, int kind) {
  std::vector<float> direction = RandomFloats(dice, size);
  for (int64_t i = 0; i < size; ++i) {
    if (kind == 1) {
      direction[i] = 1.0f + 1e-3f * direction[i] + static_cast<float>(i % 64) / 64;
    }
    if (kind == 2) {
      direction[i] *= std::ldexp(1.0f, -static_cast<int>(std::min<int64_t>(i % kChunkSize, 60)));
    }
    if (kind == 3 && dice.Roll(0, 500) != 0) {
      direction[i] = 0;
    }
  }
  return direction;
}

// An update whose entries crowd at the start of the chunks.
std::string CrowdedUpdate(const PayloadShape& shape) {
  SparseValues values;
  values.chunk_begin.push_back(0);
  for (const SegmentShape& segment : shape.segments) {
    for (uint32_t chunk = 0; chunk < segment.chunk_count; ++chunk) {
      for (uint32_t i = 0; i < std::min(segment.max_kept, segment.chunk_length); ++i) {
        values.index.push_back(static_cast<uint16_t>(i));
        values.value.push_back(1);
      }
      values.chunk_begin.push_back(static_cast<uint32_t>(values.index.size()));
    }
    values.scales.push_back(1.0f);
  }
  return EncodePayload(shape, values);
}

TEST(BudgetTest, NoPayloadOfAnyResidualExceedsIt) {
  int fitted_runs = 0;
  for (uint64_t seed = 1; seed <= 120; ++seed) {
    Dice dice(seed);
    const Layout layout = RandomLayout(dice);
    OptimizerOptions options = Defaults(dice.Flip() ? Mode::kDistro : Mode::kLocal);
    options.value_bits = 1u << dice.Roll(0, 3);
    options.domain = dice.Flip() ? Domain::kDct : Domain::kIdentity;
    const auto budget = static_cast<uint64_t>(std::ldexp(100.0, static_cast<int>(dice.Roll(0, 8))));
    const absl::StatusOr<OptimizerOptions> fitted = FitBudget(options, layout, budget);
    if (!fitted.ok()) {
      continue;
    }
    ++fitted_runs;
    ASSERT_TRUE(Validate(*fitted).ok());
    const uint64_t allowed = budget * fitted->local_steps;
    SCOPED_TRACE(absl::StrCat("seed ", seed, ", budget ", budget, ", ", Describe(*fitted, layout)));

    std::vector<std::unique_ptr<UpdateEncoder>> encoders;
    for (int worker = 0; worker < 3; ++worker) {
      encoders.push_back(*MakeUpdateEncoder(*fitted, layout));
    }
    const auto aggregator = *MakeAggregator(*fitted, layout);
    for (uint64_t round = 1; round <= 3; ++round) {
      const RoundParameters parameters{round, 0.01f, fitted->local_steps};
      ASSERT_TRUE(aggregator->BeginRound(parameters, 4).ok());
      for (auto& encoder : encoders) {
        const std::string payload = *encoder->Encode(parameters, SomeDirection(dice, layout.size(), static_cast<int>(dice.Roll(0, 3))));
        encoder->Settle(dice.Flip() ? UpdateFate::kIncluded : UpdateFate::kNotIncluded);
        EXPECT_LE(payload.size(), allowed);
        ASSERT_TRUE(aggregator->Add(payload).ok());
      }
      const std::string crowded = CrowdedUpdate(ChunkPlan(*fitted, layout).update_shape());
      EXPECT_LE(crowded.size(), allowed);
      if (!ChunkPlan(*fitted, layout).segments().empty()) {
        ASSERT_TRUE(aggregator->Add(crowded).ok());
      }
      EXPECT_LE(aggregator->Finish()->payload.size(), allowed);
    }
  }
  EXPECT_GT(fitted_runs, 60);
}

}  // namespace
}  // namespace tributary::optim
