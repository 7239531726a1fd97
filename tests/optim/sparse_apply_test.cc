#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "common/checksum.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/dct.h"
#include "optim/encoder.h"
#include "optim/replica_state.h"
#include "optim/state_hash.h"
#include "tests/optim/random_updates.h"
#include "tests/optim/reference_inverse.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

Commit RandomCommit(Dice& dice, const OptimizerOptions& options, const Layout& layout, uint64_t round) {
  const ChunkPlan plan(options, layout);
  return {.round = round,
          .learning_rate = options.mode == Mode::kLocal ? 1.0f : 0.01f,
          .included = 3,
          .payload = EncodePayload(plan.commit_shape(), RandomValues(dice, plan.commit_shape()))};
}

ReplicaState RandomState(Dice& dice, const OptimizerOptions& options, const Layout& layout) {
  return *InitialState(options, layout, RandomFloats(dice, layout.size()));
}

uint32_t Fingerprint(const std::vector<float>& theta) {
  return Crc32c({reinterpret_cast<const char*>(theta.data()), theta.size() * sizeof(float)});
}

// Apply as sparse_modes.h defines it: one parameter after another, each operation rounded by itself.
void DefinedApply(const OptimizerOptions& options, const Layout& layout, const Commit& commit, ReplicaState& state) {
  const ChunkPlan plan(options, layout);
  SparseValues values;
  ASSERT_TRUE(DecodePayload(plan.commit_shape(), commit.payload, values).ok());
  const bool sign = options.mode == Mode::kDemo || options.rule == Rule::kSign;
  volatile float decay = 1.0f;
  if (options.mode != Mode::kLocal) {
    volatile float product = commit.learning_rate * options.weight_decay;
    decay = 1.0f - product;
  }
  for (size_t s = 0; s < plan.segments().size(); ++s) {
    const Segment& segment = plan.segments()[s];
    for (int64_t chunk = 0; chunk < segment.chunk_count; ++chunk) {
      const uint32_t begin = values.chunk_begin[segment.first_chunk + chunk];
      const uint32_t count = values.chunk_begin[segment.first_chunk + chunk + 1] - begin;
      std::vector<float> v(segment.chunk_length(), 0.0f);
      if (segment.transformed) {
        v = DefinedInverse(segment.rows, segment.cols, absl::MakeSpan(values.index).subspan(begin, count),
                           absl::MakeSpan(values.value).subspan(begin, count));
      } else {
        for (uint32_t e = begin; e < begin + count; ++e) {
          v[values.index[e]] = static_cast<float>(values.value[e]);
        }
      }
      segment.ForEachPatch(chunk, [&](const Patch& patch) {
        for (int i = 0; i < patch.rows * patch.cols; ++i) {
          const int place = patch.place + i / patch.cols * kTileEdge + i % patch.cols;
          float& parameter = state.theta[patch.offset + i / patch.cols * patch.stride + i % patch.cols];
          const float x = segment.transformed ? v[place / kTileEdge * segment.cols + place % kTileEdge] : v[place];
          volatile float rate = commit.learning_rate;
          if (!sign) {
            rate = rate * values.scales[s];
          }
          volatile float step = rate * (sign ? static_cast<float>((x > 0) - (x < 0)) : x);
          volatile float kept = parameter * decay;
          parameter = kept - step;
        }
      });
    }
  }
  state.round = commit.round;
}

TEST(SparseApplyTest, EqualsTheDefinitionOnAnyThreadsAndInstructionSet) {
  for (uint64_t seed = 1; seed <= 120; ++seed) {
    Dice dice(seed);
    const Layout layout = RandomLayout(dice);
    const OptimizerOptions options = RandomOptions(dice);
    SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(options, layout)));
    const ReplicaState start = RandomState(dice, options, layout);
    const Commit commit = RandomCommit(dice, options, layout, 1);
    ReplicaState expected = start;
    DefinedApply(options, layout, commit, expected);
    for (const InstructionSet set : {InstructionSet::kBaseline, InstructionSet::kAvx2, InstructionSet::kAvx512}) {
      if (!HasInstructionSet(set)) {
        continue;
      }
      UseInstructionSet(set);
      for (int threads = 1; threads <= (seed <= 12 ? 16 : 2); ++threads) {
        ReplicaState state = start;
        ASSERT_TRUE(Apply(options, layout, commit, state, threads).ok());
        ASSERT_EQ(std::memcmp(state.theta.data(), expected.theta.data(), state.theta.size() * sizeof(float)), 0)
            << threads << " threads, instruction set " << static_cast<int>(set);
        ASSERT_EQ(StateHash(layout, state), StateHash(layout, expected));
      }
    }
  }
}

// What other compilers, flags and machines must give as well. A change here is a change of what every replica computes: runs in progress
// could not be continued by a new version.
TEST(SparseApplyTest, BitsAreFrozen) {
  constexpr std::array<std::pair<Mode, uint32_t>, 3> kExpected = {
      {{Mode::kDemo, 0xabca5b1eu}, {Mode::kDistro, 0x71d0c80cu}, {Mode::kLocal, 0x5e0480dfu}}};
  for (const auto& [mode, expected] : kExpected) {
    Dice dice(2024);
    const Layout layout = *Layout::Create({{.name = "a", .shape = {130, 192}},
                                           {.name = "b", .shape = {97}},
                                           {.name = "c", .shape = {16, 4, 5, 5}},
                                           {.name = "d", .shape = {}},
                                           {.name = "e", .shape = {9973}}});
    OptimizerOptions options = Defaults(mode);
    options.weight_decay = 0.1f;
    ReplicaState state = RandomState(dice, options, layout);
    auto aggregator = *MakeAggregator(options, layout);
    for (uint64_t round = 1; round <= 5; ++round) {
      ASSERT_TRUE(aggregator->BeginRound({.round = round, .learning_rate = 0.01f}, 5).ok());
      for (int i = 0; i < 4; ++i) {
        ASSERT_TRUE(aggregator->Add(RandomUpdate(dice, options, layout)).ok());
      }
      ASSERT_TRUE(Apply(options, layout, *aggregator->Finish(), state, 2).ok());
    }
    EXPECT_EQ(Fingerprint(state.theta), expected) << ModeName(mode);
  }
}

TEST(SparseApplyTest, FrozenBlocksDoNotMove) {
  Dice dice(4);
  const Layout layout = *Layout::Create(
      {{.name = "a", .shape = {64, 64}}, {.name = "b", .shape = {100}, .frozen = true}, {.name = "c", .shape = {64, 65}, .frozen = true}});
  for (const Mode mode : {Mode::kDemo, Mode::kDistro, Mode::kLocal}) {
    OptimizerOptions options = Defaults(mode);
    options.weight_decay = 0.5f;
    const ReplicaState start = RandomState(dice, options, layout);
    ReplicaState state = start;
    ASSERT_TRUE(Apply(options, layout, RandomCommit(dice, options, layout, 1), state, 1).ok());
    EXPECT_NE(state.theta, start.theta);
    for (size_t i = 4096; i < state.theta.size(); ++i) {
      ASSERT_EQ(state.theta[i], start.theta[i]);
    }
  }
}

TEST(SparseApplyTest, AnEmptyCommitOnlyCounts) {
  Dice dice(4);
  const Layout layout = *Layout::Create({{.name = "a", .shape = {64, 64}}});
  OptimizerOptions options = Defaults(Mode::kDistro);
  options.weight_decay = 0.5f;
  const ReplicaState start = RandomState(dice, options, layout);
  ReplicaState state = start;
  ASSERT_TRUE(Apply(options, layout, {.round = 1, .learning_rate = 0.1f, .included = 0, .payload = ""}, state, 1).ok());
  EXPECT_EQ(state.round, 1u);
  EXPECT_EQ(state.theta, start.theta);
}

TEST(SparseApplyTest, RefusalsLeaveTheStateUnchanged) {
  Dice dice(4);
  const Layout layout = *Layout::Create({{.name = "a", .shape = {64, 64}}});
  const OptimizerOptions options = Defaults(Mode::kDistro);
  const ReplicaState start = RandomState(dice, options, layout);
  ReplicaState state = start;
  const Commit good = RandomCommit(dice, options, layout, 1);
  Commit bad = good;
  bad.round = 2;
  EXPECT_EQ(Apply(options, layout, bad, state, 1).code(), absl::StatusCode::kFailedPrecondition);
  bad = good;
  bad.payload.pop_back();
  const absl::Status status = Apply(options, layout, bad, state, 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("commit 1"));
  bad = good;
  bad.learning_rate = -1;
  EXPECT_EQ(Apply(options, layout, bad, state, 1).code(), absl::StatusCode::kInvalidArgument);
  bad = good;
  bad.included = 0;
  EXPECT_EQ(Apply(options, layout, bad, state, 1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(state.round, 0u);
  EXPECT_EQ(state.theta, start.theta);
  state.theta.pop_back();
  EXPECT_EQ(Apply(options, layout, good, state, 1).code(), absl::StatusCode::kInvalidArgument);
}

// Many workers on one quadratic: loss |theta - target_i|^2 / 2, whose mean has its minimum at the mean target.
TEST(SparseModesTest, WorkersDescendTogether) {
  for (const Mode mode : {Mode::kDemo, Mode::kDistro, Mode::kLocal}) {
    Dice dice(11);
    const Layout layout = *Layout::Create({{.name = "a", .shape = {64, 96}}, {.name = "b", .shape = {50}}});
    OptimizerOptions options = Defaults(mode);
    options.rounds = 300;
    options.learning_rate = {.kind = ScheduleKind::kLinear, .peak = 0.02, .final_ratio = 0.0};
    options.clip_norm = 0;
    options.k = options.commit_k = 256;
    options.beta = mode == Mode::kLocal ? 1.0f : 0.9f;
    constexpr int kWorkers = 4;
    std::vector<std::vector<float>> targets;
    std::vector<double> mean(layout.size(), 0.0);
    std::vector<std::unique_ptr<UpdateEncoder>> encoders;
    for (int w = 0; w < kWorkers; ++w) {
      targets.push_back(RandomFloats(dice, layout.size()));
      for (size_t i = 0; i < mean.size(); ++i) {
        mean[i] += targets[w][i] / kWorkers;
      }
      encoders.push_back(*MakeUpdateEncoder(options, layout));
    }
    auto aggregator = *MakeAggregator(options, layout);
    ReplicaState state = *InitialState(options, layout, std::vector<float>(layout.size(), 0.0f));
    const auto distance = [&] {
      double sum = 0;
      for (size_t i = 0; i < mean.size(); ++i) {
        sum += std::pow(state.theta[i] - mean[i], 2);
      }
      return std::sqrt(sum);
    };
    const double start = distance();
    for (uint64_t round = 1; round <= options.rounds; ++round) {
      const RoundParameters parameters = ParametersForRound(options, round);
      ASSERT_TRUE(aggregator->BeginRound(parameters, kWorkers).ok());
      for (int w = 0; w < kWorkers; ++w) {
        std::vector<float> direction(layout.size());
        const float gain = mode == Mode::kLocal ? 0.02f : 1.0f;
        for (size_t i = 0; i < direction.size(); ++i) {
          direction[i] = gain * (state.theta[i] - targets[w][i]);
        }
        auto payload = encoders[w]->Encode(parameters, direction);
        ASSERT_TRUE(payload.ok()) << payload.status();
        const bool included = dice.Roll(0, 9) > 0;
        if (included) {
          ASSERT_TRUE(aggregator->Add(*payload).ok());
        }
        encoders[w]->Settle(included ? UpdateFate::kIncluded : UpdateFate::kNotIncluded);
      }
      ASSERT_TRUE(Apply(options, layout, *aggregator->Finish(), state, 1).ok());
    }
    EXPECT_LT(distance(), 0.35 * start) << ModeName(mode);
  }
}

}  // namespace
}  // namespace tributary::optim
