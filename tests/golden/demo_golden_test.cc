// Mode `demo` against vectors that tests/golden/demo_reference.py computed from the published equations.
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/chunk_plan.h"
#include "optim/encoder.h"
#include "optim/replica_state.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

// Agreement asked for, relative to the largest magnitude.
constexpr double kTolerance = 1e-5;

const nlohmann::json& Cases() {
  static const auto& cases = *new nlohmann::json([] {
    std::ifstream file(TRIBUTARY_DEMO_VECTORS);
    return nlohmann::json::parse(file).at("cases");
  }());
  return cases;
}

void ExpectClose(absl::Span<const float> got, const std::vector<double>& expected, absl::string_view what) {
  ASSERT_EQ(got.size(), expected.size());
  double max = 0;
  for (const double value : expected) {
    max = std::max(max, std::fabs(value));
  }
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], expected[i], kTolerance * max) << what << " " << i;
  }
}

// The indices kept, by chunk over all blocks.
std::vector<std::vector<int>> SupportOf(const PayloadShape& shape, absl::string_view payload) {
  SparseValues values;
  EXPECT_TRUE(DecodePayload(shape, payload, values).ok());
  std::vector<std::vector<int>> support;
  for (size_t c = 0; c + 1 < values.chunk_begin.size(); ++c) {
    support.emplace_back(values.index.begin() + values.chunk_begin[c], values.index.begin() + values.chunk_begin[c + 1]);
  }
  return support;
}

class DemoGoldenTest : public ::testing::TestWithParam<size_t> {};

TEST_P(DemoGoldenTest, FollowsThePublishedAlgorithm) {
  const nlohmann::json& golden = Cases().at(GetParam());
  std::vector<Block> blocks;
  for (const auto& shape : golden.at("shapes")) {
    blocks.push_back({.name = absl::StrCat("block.", blocks.size()), .shape = shape.get<std::vector<int64_t>>()});
  }
  const Layout layout = *Layout::Create(std::move(blocks));
  OptimizerOptions options = Defaults(Mode::kDemo);
  options.k = golden.at("k");
  options.beta = golden.at("beta");
  options.clip_norm = golden.at("clip_norm");
  options.weight_decay = golden.at("weight_decay");
  const ChunkPlan plan(options, layout);

  Dice dice(golden.at("seed").get<uint64_t>());
  ReplicaState state = *InitialState(options, layout, RandomFloats(dice, layout.size()));
  std::vector<std::unique_ptr<UpdateEncoder>> workers;
  for (int w = 0; w < golden.at("workers"); ++w) {
    workers.push_back(*MakeUpdateEncoder(options, layout));
  }
  auto aggregator = *MakeAggregator(options, layout);

  for (size_t step = 0; step < golden.at("results").size(); ++step) {
    SCOPED_TRACE(absl::StrCat("step ", step));
    const nlohmann::json& expected = golden.at("results").at(step);
    const RoundParameters round{.round = step + 1, .learning_rate = golden.at("learning_rates").at(step)};
    ASSERT_TRUE(aggregator->BeginRound(round, static_cast<uint32_t>(workers.size())).ok());
    for (size_t w = 0; w < workers.size(); ++w) {
      auto payload = workers[w]->Encode(round, RandomFloats(dice, layout.size()));
      ASSERT_TRUE(payload.ok()) << payload.status();
      ASSERT_TRUE(aggregator->Add(*payload).ok());
      workers[w]->Settle(UpdateFate::kIncluded);
      std::vector<std::vector<int>> support;
      for (const auto& block : expected.at("supports").at(w)) {
        for (const auto& chunk : block) {
          support.push_back(chunk.get<std::vector<int>>());
        }
      }
      EXPECT_EQ(SupportOf(plan.update_shape(), *payload), support) << "worker " << w;
    }
    ASSERT_TRUE(Apply(options, layout, *aggregator->Finish(), state, 1).ok());
    ExpectClose(state.theta, expected.at("theta").get<std::vector<double>>(), "theta");

    // A saved state ends with the residual and a checksum.
    const std::string saved = workers[0]->SaveState();
    std::vector<float> residual(layout.size());
    std::memcpy(residual.data(), saved.data() + saved.size() - sizeof(uint32_t) - residual.size() * sizeof(float),
                residual.size() * sizeof(float));
    ExpectClose(residual, expected.at("residual").get<std::vector<double>>(), "residual");
  }
}

INSTANTIATE_TEST_SUITE_P(, DemoGoldenTest, ::testing::Range<size_t>(0, 4),
                         [](const auto& index) { return Cases().at(index.param).at("name").template get<std::string>(); });

}  // namespace
}  // namespace tributary::optim
