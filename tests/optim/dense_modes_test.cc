#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "common/checksum.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/apply.h"
#include "optim/dense_modes.h"
#include "optim/dense_payload.h"
#include "optim/modes.h"
#include "optim/state_hash.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

constexpr Mode kDenseModes[] = {Mode::kAllReduce, Mode::kFedAvg, Mode::kDiLoCo, Mode::kSignSgd};
constexpr Mode kValueModes[] = {Mode::kAllReduce, Mode::kFedAvg, Mode::kDiLoCo};

// Odd sizes, an empty block, a scalar, and frozen blocks in the middle and at the end.
Layout TestLayout() {
  return *Layout::Create(
      {{"a", {37, 300}}, {"s", {}}, {"empty", {0, 3}}, {"still", {50}, true}, {"b", {4097}}, {"c", {3, 3}}, {"still.too", {7}, true}});
}

// Up to `scale` in magnitude, a fifth of them zero; one product of exact numbers each, so that all machines test with the same bits.
std::vector<float> RandomVector(int64_t size, uint64_t seed, float scale) {
  std::mt19937_64 rng(seed);
  std::vector<float> values(size);
  for (float& value : values) {
    const int32_t number = static_cast<int32_t>(rng() % (1 << 21)) - (1 << 20);
    value = rng() % 5 == 0 ? 0.0f : scale * std::ldexp(static_cast<float>(number), -20);
  }
  return values;
}

ReplicaState RandomState(Mode mode, const Layout& layout) {
  ReplicaState state;
  state.theta = RandomVector(layout.size(), 1, 1.0f);
  for (int slot = 0; slot < SlotCount(mode); ++slot) {
    state.slots.push_back(RandomVector(layout.size(), 10 + slot, 0.1f));
    for (float& value : state.slots.back()) {
      value = std::abs(value);
    }
  }
  return state;
}

RoundParameters Round(uint64_t round) {
  return {round, 0.01f, 1};
}

std::unique_ptr<UpdateEncoder> EncoderOf(const OptimizerOptions& options, const Layout& layout) {
  return TraitsOf(options.mode).make_encoder(options, layout, 1);
}

std::unique_ptr<Aggregator> AggregatorOf(const OptimizerOptions& options, const Layout& layout) {
  return TraitsOf(options.mode).make_aggregator(options, layout);
}

std::string Encode(const OptimizerOptions& options, const Layout& layout, absl::Span<const float> direction) {
  absl::StatusOr<std::string> payload = EncoderOf(options, layout)->Encode(Round(1), direction);
  EXPECT_TRUE(payload.ok()) << payload.status();
  return payload.ok() ? *payload : "";
}

Commit CommitOf(const OptimizerOptions& options, const Layout& layout, const std::vector<std::string>& payloads) {
  std::unique_ptr<Aggregator> aggregator = AggregatorOf(options, layout);
  EXPECT_TRUE(aggregator->BeginRound(Round(1), static_cast<uint32_t>(payloads.size())).ok());
  for (const std::string& payload : payloads) {
    EXPECT_TRUE(aggregator->Add(payload).ok());
  }
  return *aggregator->Finish();
}

TEST(DenseModesTest, ThePayloadIsAsLongAsTheBoundSays) {
  const Layout layout = TestLayout();
  const uint64_t live = layout.size() - 57;
  EXPECT_EQ(Encode(Defaults(Mode::kAllReduce), layout, RandomVector(layout.size(), 3, 1)).size(), 1 + 4 * live);
  EXPECT_EQ(MaxPayloadBytes(Defaults(Mode::kAllReduce), layout).update, 1 + 4 * live);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::string signs = Encode(Defaults(Mode::kSignSgd), layout, RandomVector(layout.size(), seed, 1));
    EXPECT_LE(signs.size(), MaxPayloadBytes(Defaults(Mode::kSignSgd), layout).update);
  }
}

TEST(DenseModesTest, SignsWithoutZerosTakeOneBitEach) {
  const Layout layout = *Layout::Create({{"a", {4096, 2}}});
  EXPECT_EQ(Encode(Defaults(Mode::kSignSgd), layout, std::vector<float>(8192, -0.5f)).size(), 1u + 2 * (1 + 512));
  EXPECT_EQ(Encode(Defaults(Mode::kSignSgd), layout, std::vector<float>(8192, 0.0f)).size(), 1u + 2);
}

TEST(DenseModesTest, ADirectionThatIsNotFiniteIsRefusedAndNothingIsPending) {
  const Layout layout = TestLayout();
  for (Mode mode : kDenseModes) {
    std::unique_ptr<UpdateEncoder> encoder = EncoderOf(Defaults(mode), layout);
    std::vector<float> direction = RandomVector(layout.size(), 3, 1);
    for (float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
      direction[5] = bad;
      EXPECT_EQ(encoder->Encode(Round(1), direction).status().code(), absl::StatusCode::kFailedPrecondition);
    }
    direction[5] = 0;
    EXPECT_TRUE(encoder->Encode(Round(1), direction).ok());
  }
}

TEST(DenseModesTest, AnUpdateMustBeSettledBeforeTheNext) {
  const Layout layout = TestLayout();
  for (Mode mode : kDenseModes) {
    std::unique_ptr<UpdateEncoder> encoder = EncoderOf(Defaults(mode), layout);
    const std::vector<float> direction = RandomVector(layout.size(), 3, 1);
    ASSERT_TRUE(encoder->Encode(Round(1), direction).ok());
    EXPECT_EQ(encoder->Encode(Round(2), direction).status().code(), absl::StatusCode::kFailedPrecondition);
    encoder->Settle(UpdateFate::kNotIncluded);
    EXPECT_TRUE(encoder->Encode(Round(2), direction).ok());
    EXPECT_EQ(encoder->ResidualNorm(), 0);
  }
}

TEST(DenseModesTest, AValueBeyondTheBoundIsRefusedWithAdvice) {
  const Layout layout = TestLayout();
  OptimizerOptions options = Defaults(Mode::kAllReduce);
  options.clip_norm = 0;
  std::vector<float> direction(layout.size(), 0.0f);
  direction[3] = kDenseValueBound;
  EXPECT_TRUE(EncoderOf(options, layout)->Encode(Round(1), direction).ok());
  direction[3] = -std::nextafter(kDenseValueBound, 2 * kDenseValueBound);
  const absl::Status status = EncoderOf(options, layout)->Encode(Round(1), direction).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("set clip_norm"));
}

TEST(DenseModesTest, GradientsAreClippedAndPseudoGradientsAreNot) {
  const Layout layout = *Layout::Create({{"a", {2}}, {"still", {1}, true}});
  const std::vector<float> direction = {3, 4, 1e6f};  // what a frozen block has does not count
  ReplicaState state;
  state.theta = {0, 0, 5};
  OptimizerOptions options = Defaults(Mode::kFedAvg);
  ASSERT_TRUE(Apply(options, layout, CommitOf(options, layout, {Encode(options, layout, direction)}), state, 1).ok());
  EXPECT_EQ(state.theta, (std::vector<float>{-3, -4, 5}));

  options = Defaults(Mode::kAllReduce);
  EXPECT_EQ(Encode(options, layout, direction), Encode(options, layout, std::vector<float>{0.6f, 0.8f, 0}));
}

TEST(DenseModesTest, TheOrderOfArrivalDoesNotMatter) {
  const Layout layout = TestLayout();
  for (Mode mode : kDenseModes) {
    const OptimizerOptions options = Defaults(mode);
    std::vector<std::string> payloads;
    for (uint64_t worker = 0; worker < 9; ++worker) {
      payloads.push_back(Encode(options, layout, RandomVector(layout.size(), worker, std::ldexp(1.0f, static_cast<int>(worker) - 6))));
    }
    const Commit commit = CommitOf(options, layout, payloads);
    EXPECT_EQ(commit.included, 9u);
    EXPECT_EQ(commit.round, 1u);
    EXPECT_EQ(commit.learning_rate, 0.01f);
    std::mt19937_64 rng(1);
    for (int i = 0; i < 5; ++i) {
      std::shuffle(payloads.begin(), payloads.end(), rng);
      EXPECT_EQ(CommitOf(options, layout, payloads).payload, commit.payload) << ModeName(mode);
    }
  }
}

TEST(DenseModesTest, TheMeanOfEqualUpdatesIsThatUpdateToTheUnit) {
  const Layout layout = TestLayout();
  const OptimizerOptions options = Defaults(Mode::kFedAvg);
  const std::vector<float> direction = RandomVector(layout.size(), 4, 3);
  const std::string payload = Encode(options, layout, direction);
  ReplicaState state;
  state.theta.assign(layout.size(), 0.0f);
  ASSERT_TRUE(Apply(options, layout, CommitOf(options, layout, {payload, payload, payload}), state, 1).ok());
  for (const Block& block : layout.blocks()) {
    for (int64_t i = block.offset; i < block.offset + block.size; ++i) {
      ASSERT_NEAR(state.theta[i], block.frozen ? 0 : -direction[i], 1e-6 * std::abs(direction[i]) + std::ldexp(1.0, -40));
    }
  }
}

TEST(DenseModesTest, TheMajorityDecidesAndATieIsZero) {
  const Layout layout = *Layout::Create({{"a", {4}}});
  OptimizerOptions options = Defaults(Mode::kSignSgd);
  options.weight_decay = 0;
  auto payload = [&](std::vector<float> direction) { return Encode(options, layout, direction); };
  const Commit commit = CommitOf(options, layout, {payload({1, 1, -9, 0}), payload({1, -1, -9, 0}), payload({-5, 0, 0, 0})});
  ReplicaState state;
  state.theta = {1, 1, 1, 1};
  ASSERT_TRUE(Apply(options, layout, commit, state, 1).ok());
  EXPECT_EQ(state.theta, (std::vector<float>{1 - 0.01f, 1, 1 + 0.01f, 1}));
}

TEST(DenseModesTest, TheLargestNumberOfLargestValuesDoesNotOverflow) {
  const Layout layout = *Layout::Create({{"a", {9}}});
  OptimizerOptions options = Defaults(Mode::kFedAvg);
  const std::string payload = Encode(options, layout, std::vector<float>(9, -kDenseValueBound));
  const Commit commit = CommitOf(options, layout, std::vector<std::string>(kMaxWorkers, payload));
  EXPECT_EQ(commit.payload, payload);

  options = Defaults(Mode::kSignSgd);
  const std::string votes = Encode(options, layout, std::vector<float>(9, -1.0f));
  EXPECT_EQ(CommitOf(options, layout, std::vector<std::string>(kMaxWorkers, votes)).payload, votes);
}

TEST(DenseModesTest, FrozenBlocksDoNotMove) {
  const Layout layout = TestLayout();
  for (Mode mode : kDenseModes) {
    OptimizerOptions options = Defaults(mode);
    options.weight_decay = 0.5f;
    const ReplicaState before = RandomState(mode, layout);
    ReplicaState after = before;
    Commit commit = CommitOf(options, layout, {Encode(options, layout, RandomVector(layout.size(), 7, 1))});
    ASSERT_TRUE(Apply(options, layout, commit, after, 2).ok());
    EXPECT_NE(after.theta, before.theta);
    for (const Block& block : layout.blocks()) {
      if (!block.frozen) {
        continue;
      }
      for (int64_t i = block.offset; i < block.offset + block.size; ++i) {
        ASSERT_EQ(after.theta[i], before.theta[i]);
        for (size_t slot = 0; slot < after.slots.size(); ++slot) {
          ASSERT_EQ(after.slots[slot][i], before.slots[slot][i]);
        }
      }
    }
  }
}

TEST(DenseModesTest, AnyNumberOfThreadsGivesTheSameBits) {
  const Layout layout = *Layout::Create({{"a", {300, 1001}}, {"still", {11}, true}, {"b", {4099}}});
  for (Mode mode : kDenseModes) {
    const OptimizerOptions options = Defaults(mode);
    const Commit commit = CommitOf(options, layout, {Encode(options, layout, RandomVector(layout.size(), 7, 1))});
    ReplicaState one = RandomState(mode, layout);
    ASSERT_TRUE(Apply(options, layout, commit, one, 1).ok());
    for (int threads : {2, 5, 16}) {
      ReplicaState many = RandomState(mode, layout);
      ASSERT_TRUE(Apply(options, layout, commit, many, threads).ok());
      EXPECT_EQ(StateHash(layout, many), StateHash(layout, one)) << ModeName(mode);
    }
  }
}

// Replicas agree only if every compiler, level of optimisation and processor gives these bits.
TEST(DenseModesTest, ThreeRoundsGiveTheirPinnedBits) {
  const Layout layout = TestLayout();
  const std::pair<Mode, absl::string_view> kPinned[] = {
      {Mode::kAllReduce, "70bd3e91ace2dd9e4dbb88ac56a9dc99f0dbc6a355b34721f5eb8490124f0584"},
      {Mode::kFedAvg, "4b40de8060781e10cfb8fe86a654cc938367ae55fcb75cded4d1fefdd92dcdde"},
      {Mode::kDiLoCo, "b0c8fbfee07a43719438beeddf9f18986b4047bd7953e12c0ccc01312242150e"},
      {Mode::kSignSgd, "a46afd8371a1143e5ba530484ff90b79d81a2c0058ee4124c479a5a1a7a5bb8b"},
  };
  for (const auto& [mode, hash] : kPinned) {
    OptimizerOptions options = Defaults(mode);
    options.weight_decay = 0.1f;
    options.clip_norm = 0;
    ReplicaState state = RandomState(mode, layout);
    for (uint64_t round = 1; round <= 3; ++round) {
      std::unique_ptr<Aggregator> aggregator = AggregatorOf(options, layout);
      ASSERT_TRUE(aggregator->BeginRound(Round(round), 3).ok());
      for (uint64_t worker = 0; worker < 3; ++worker) {
        ASSERT_TRUE(aggregator->Add(Encode(options, layout, RandomVector(layout.size(), 100 * round + worker, 0.01f))).ok());
      }
      ASSERT_TRUE(Apply(options, layout, *aggregator->Finish(), state, 2).ok());
    }
    EXPECT_EQ(DigestHex(StateHash(layout, state)), hash) << ModeName(mode);
  }
}

TEST(DenseModesTest, DiLoCoTakesANesterovStep) {
  const Layout layout = *Layout::Create({{"a", {1}}});
  OptimizerOptions options = Defaults(Mode::kDiLoCo);
  options.outer_learning_rate = 0.5f;
  options.outer_momentum = 0.75f;
  ReplicaState state;
  state.theta = {1};
  state.slots = {{2}};
  ASSERT_TRUE(Apply(options, layout, CommitOf(options, layout, {Encode(options, layout, std::vector<float>{4})}), state, 1).ok());
  EXPECT_EQ(state.slots[0][0], 5.5f);  // .75*2 + 4
  EXPECT_EQ(state.theta[0], 1 - 0.5f * (4 + 0.75f * 5.5f));
}

TEST(DenseModesTest, AValuePayloadThatIsNotCanonicalIsRejectedAndNamesTheBlock) {
  const Layout layout = TestLayout();
  const OptimizerOptions options = Defaults(Mode::kAllReduce);
  const std::string payload = Encode(options, layout, RandomVector(layout.size(), 3, 1));
  std::unique_ptr<Aggregator> aggregator = AggregatorOf(options, layout);
  EXPECT_TRUE(aggregator->Check(payload).ok());
  EXPECT_THAT(aggregator->Check("").message(), HasSubstr("empty"));
  EXPECT_THAT(aggregator->Check(payload.substr(1)).message(), HasSubstr("version"));
  EXPECT_THAT(aggregator->Check(payload.substr(0, payload.size() - 1)).message(), HasSubstr("bytes; this layout takes"));
  EXPECT_THAT(aggregator->Check(payload + "x").message(), HasSubstr("bytes; this layout takes"));
  const float bad[] = {std::nanf(""), -std::numeric_limits<float>::infinity(), 1025.0f, -2e30f, -0.0f};
  for (float value : bad) {
    std::string changed = payload;
    std::memcpy(changed.data() + 1 + 4 * 11101, &value, sizeof(value));  // the first element of block b, after a and s
    EXPECT_THAT(aggregator->Check(changed).message(), HasSubstr("block b: value"));
    ReplicaState state = RandomState(Mode::kAllReduce, layout);
    EXPECT_EQ(Apply(options, layout, {1, 0.1f, 1, changed}, state, 1).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(StateHash(layout, state), StateHash(layout, RandomState(Mode::kAllReduce, layout)));
  }
}

TEST(DenseModesTest, EveryDamagedSignPayloadIsRejectedOrCanonical) {
  const Layout layout = *Layout::Create({{"a", {5}}, {"still", {3}, true}, {"b", {19}}, {"still.too", {1}, true}, {"c", {8}}});
  const OptimizerOptions options = Defaults(Mode::kSignSgd);
  std::vector<float> direction = RandomVector(layout.size(), 5, 1);
  std::fill(direction.end() - 8, direction.end(), 2.0f);
  const std::string payload = Encode(options, layout, direction);
  std::unique_ptr<Aggregator> aggregator = AggregatorOf(options, layout);
  ASSERT_TRUE(aggregator->Check(payload).ok());
  for (size_t size = 0; size < payload.size(); ++size) {
    EXPECT_FALSE(aggregator->Check(payload.substr(0, size)).ok());
  }
  EXPECT_FALSE(aggregator->Check(payload + '\0').ok());
  int accepted = 0;
  for (size_t bit = 0; bit < payload.size() * 8; ++bit) {
    std::string flipped = payload;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    if (!aggregator->Check(flipped).ok()) {
      continue;
    }
    // The vote of one is what it voted: encoded anew it must be the same bytes.
    ++accepted;
    EXPECT_EQ(CommitOf(options, layout, {flipped}).payload, flipped);
  }
  EXPECT_GT(accepted, 10);
}

TEST(DenseModesTest, ARejectedUpdateLeavesTheSum) {
  const Layout layout = TestLayout();
  for (Mode mode : kDenseModes) {
    const OptimizerOptions options = Defaults(mode);
    const std::string payload = Encode(options, layout, RandomVector(layout.size(), 3, 1));
    std::string bad = payload;
    bad.back() = static_cast<char>(0xff);  // an exponent of all ones, or padding
    std::unique_ptr<Aggregator> aggregator = AggregatorOf(options, layout);
    ASSERT_TRUE(aggregator->BeginRound(Round(1), 2).ok());
    ASSERT_TRUE(aggregator->Add(payload).ok());
    if (mode != Mode::kSignSgd) {
      bad[bad.size() - 2] = static_cast<char>(0xff);
    }
    EXPECT_EQ(aggregator->Add(bad).code(), absl::StatusCode::kInvalidArgument) << ModeName(mode);
    EXPECT_EQ(aggregator->Finish()->payload, CommitOf(options, layout, {payload}).payload);
  }
}

TEST(DenseModesTest, TheRoundKeepsItsOrder) {
  const Layout layout = TestLayout();
  for (Mode mode : kDenseModes) {
    const OptimizerOptions options = Defaults(mode);
    const std::string payload = Encode(options, layout, RandomVector(layout.size(), 3, 1));
    std::unique_ptr<Aggregator> aggregator = AggregatorOf(options, layout);
    EXPECT_EQ(aggregator->Add(payload).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(aggregator->Finish().status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(aggregator->BeginRound(Round(1), 0).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(aggregator->BeginRound(Round(1), kMaxWorkers + 1).code(), absl::StatusCode::kInvalidArgument);
    ASSERT_TRUE(aggregator->BeginRound(Round(1), 1).ok());
    ASSERT_TRUE(aggregator->Add(payload).ok());
    EXPECT_EQ(aggregator->Add(payload).code(), absl::StatusCode::kFailedPrecondition);
    // A round that is opened again starts from nothing.
    EXPECT_EQ(aggregator->BeginRound(Round(2), 1).code(), absl::StatusCode::kFailedPrecondition);
    ASSERT_TRUE(aggregator->Remove(payload).ok());
    EXPECT_EQ(aggregator->Remove(payload).code(), absl::StatusCode::kFailedPrecondition);
    ASSERT_TRUE(aggregator->BeginRound(Round(2), 1).ok());
    const Commit empty = *aggregator->Finish();
    EXPECT_EQ(empty.included, 0u);
    EXPECT_EQ(empty.payload, "");
    EXPECT_EQ(empty.round, 2u);
    // What is taken back has no part in it.
    const std::string other = Encode(options, layout, RandomVector(layout.size(), 4, 1));
    ASSERT_TRUE(aggregator->BeginRound(Round(3), 2).ok());
    for (const std::string& added : {payload, other}) {
      ASSERT_TRUE(aggregator->Add(added).ok());
    }
    ASSERT_TRUE(aggregator->Remove(payload).ok());
    const Commit left = *aggregator->Finish();
    ASSERT_TRUE(aggregator->BeginRound(Round(3), 2).ok());
    ASSERT_TRUE(aggregator->Add(other).ok());
    EXPECT_EQ(EncodeCommit(left), EncodeCommit(*aggregator->Finish()));
  }
}

TEST(DenseModesTest, SavedStatesAreThoseOfTheirModeAndLayout) {
  const Layout layout = TestLayout();
  const Layout other = *Layout::Create({{"a", {2}}});
  for (Mode mode : kValueModes) {
    std::unique_ptr<UpdateEncoder> encoder = EncoderOf(Defaults(mode), layout);
    std::unique_ptr<Aggregator> aggregator = AggregatorOf(Defaults(mode), layout);
    EXPECT_TRUE(encoder->RestoreState(encoder->SaveState()).ok());
    EXPECT_TRUE(aggregator->RestoreState(aggregator->SaveState()).ok());
    EXPECT_EQ(encoder->RestoreState(aggregator->SaveState()).code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(encoder->RestoreState(EncoderOf(Defaults(mode), other)->SaveState()).code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(encoder->RestoreState(EncoderOf(Defaults(Mode::kSignSgd), layout)->SaveState()).code(), absl::StatusCode::kDataLoss);
  }
}

TEST(DenseModesTest, ASavedStateSaysWhetherAnUpdateIsPending) {
  const Layout layout = TestLayout();
  const std::vector<float> direction = RandomVector(layout.size(), 3, 1);
  for (Mode mode : kDenseModes) {
    std::unique_ptr<UpdateEncoder> first = EncoderOf(Defaults(mode), layout);
    ASSERT_TRUE(first->Encode(Round(1), direction).ok());
    std::unique_ptr<UpdateEncoder> second = EncoderOf(Defaults(mode), layout);
    ASSERT_TRUE(second->RestoreState(first->SaveState()).ok());
    EXPECT_EQ(second->Encode(Round(2), direction).status().code(), absl::StatusCode::kFailedPrecondition);
    second->Settle(UpdateFate::kIncluded);
    EXPECT_TRUE(second->Encode(Round(2), direction).ok());
  }
}

}  // namespace
}  // namespace tributary::optim
