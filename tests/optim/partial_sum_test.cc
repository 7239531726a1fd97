#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "common/bytes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/aggregator.h"
#include "optim/encoder.h"
#include "optim/integer_runs.h"
#include "optim/modes.h"
#include "optim/sealed_state.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

struct Update {
  std::string payload;
  uint32_t weight = kMaxWeight;
};

// Options of `mode` that its family allows to differ.
OptimizerOptions RandomOptionsOf(Mode mode, Dice& dice) {
  OptimizerOptions options = RandomOptions(dice);
  const OptimizerOptions defaults = Defaults(mode);
  options.mode = mode;
  options.learning_rate = defaults.learning_rate;
  options.local_steps = defaults.local_steps;
  options.weighting = dice.Flip() && TraitsOf(mode).keys.Has(Key::kWeighting) ? Weighting::kSamples : Weighting::kUniform;
  return options;
}

Update RandomUpdateOf(Dice& dice, const OptimizerOptions& options, const Layout& layout, const RoundParameters& round) {
  Update update;
  if (options.weighting == Weighting::kSamples) {
    update.weight = static_cast<uint32_t>(dice.Roll(1, int64_t{1} << dice.Roll(0, 24)));
  }
  const Family family = TraitsOf(options.mode).family;
  if (family == Family::kLevels || family == Family::kFloatComponents) {
    update.payload = RandomUpdate(dice, options, layout);
  } else {
    update.payload = *(*MakeUpdateEncoder(options, layout))->Encode(round, RandomFloats(dice, layout.size(), 0x1p-6f));
  }
  return update;
}

// A run of one round: what every aggregator of it is opened with.
struct Round {
  OptimizerOptions options;
  const Layout& layout;
  RoundParameters parameters;
  uint32_t members;
};

std::unique_ptr<Aggregator> Open(const Round& round) {
  std::unique_ptr<Aggregator> aggregator = *MakeAggregator(round.options, round.layout);
  EXPECT_TRUE(aggregator->BeginRound(round.parameters, round.members).ok());
  return aggregator;
}

// Sums updates[begin, end) into `sum`: some of it by itself, the rest by a tree of others.
void SumByTree(Dice& dice, const Round& round, absl::Span<const Update> updates, Aggregator& sum) {
  while (!updates.empty()) {
    const size_t share = dice.Roll(1, static_cast<int64_t>(updates.size()));
    if (share == 1 && dice.Flip()) {
      ASSERT_TRUE(sum.Add(updates[0].payload, updates[0].weight).ok());
    } else {
      const std::unique_ptr<Aggregator> branch = Open(round);
      SumByTree(dice, round, updates.subspan(0, share), *branch);
      const absl::StatusOr<std::string> partial = branch->ExportPartial();
      ASSERT_TRUE(partial.ok()) << partial.status();
      ASSERT_TRUE(sum.MergePartial(*partial).ok()) << sum.MergePartial(*partial);
    }
    updates.remove_prefix(share);
  }
}

TEST(PartialSumTest, AnyTreeOfMergesGivesTheCommitOfOneAggregator) {
  for (const ModeTraits& mode : kModes) {
    for (uint64_t seed = 1; seed <= 25; ++seed) {
      Dice dice(seed);
      const Layout layout = RandomLayout(dice);
      const OptimizerOptions options = RandomOptionsOf(mode.mode, dice);
      SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(options, layout)));
      const auto one = *MakeAggregator(options, layout);
      const auto root = *MakeAggregator(options, layout);
      // From the second round on there is a residual at the root.
      for (uint64_t number = 1; number <= 3; ++number) {
        const int64_t count = dice.Roll(0, 9);
        const Round round{options,
                          layout,
                          {.round = number, .learning_rate = 0.1f, .local_steps = options.local_steps},
                          static_cast<uint32_t>(count + dice.Roll(1, 3))};
        std::vector<Update> updates;
        for (int64_t i = 0; i < count; ++i) {
          updates.push_back(RandomUpdateOf(dice, options, layout, round.parameters));
        }
        ASSERT_TRUE(one->BeginRound(round.parameters, round.members).ok());
        for (const Update& update : updates) {
          ASSERT_TRUE(one->Add(update.payload, update.weight).ok());
        }
        ASSERT_TRUE(root->BeginRound(round.parameters, round.members).ok());
        for (size_t i = updates.size(); i > 1; --i) {
          std::swap(updates[i - 1], updates[dice.Roll(0, static_cast<int64_t>(i) - 1)]);
        }
        SumByTree(dice, round, updates, *root);
        ASSERT_EQ(EncodeCommit(*root->Finish()), EncodeCommit(*one->Finish()));
        ASSERT_EQ(root->SaveState(), one->SaveState());
      }
    }
  }
}

TEST(PartialSumTest, AnEmptyPartialSumAddsNothing) {
  const Layout layout = *Layout::Create({{.name = "w", .shape = {70, 65}}});
  for (const ModeTraits& mode : kModes) {
    const Round round{Defaults(mode.mode), layout, {.round = 3, .learning_rate = 0.1f}, 2};
    const auto sum = Open(round);
    ASSERT_TRUE(sum->MergePartial(*Open(round)->ExportPartial()).ok()) << mode.name;
    EXPECT_EQ(sum->Finish()->included, 0u);
  }
}

TEST(PartialSumTest, AnExportEndsTheRoundAndTheNextStartsFromNothing) {
  const Layout layout = *Layout::Create({{.name = "w", .shape = {70, 65}}});
  for (const ModeTraits& mode : kModes) {
    Dice dice(1);
    const Round round{Defaults(mode.mode), layout, {.round = 1, .learning_rate = 0.1f}, 2};
    const auto sum = Open(round);
    const Update update = RandomUpdateOf(dice, round.options, layout, round.parameters);
    ASSERT_TRUE(sum->Add(update.payload, update.weight).ok());
    const std::string first = *sum->ExportPartial();
    EXPECT_EQ(sum->ExportPartial().status().code(), absl::StatusCode::kFailedPrecondition) << mode.name;
    EXPECT_EQ(sum->MergePartial(first).code(), absl::StatusCode::kFailedPrecondition);
    ASSERT_TRUE(sum->BeginRound(round.parameters, round.members).ok());
    EXPECT_EQ(*sum->ExportPartial(), *Open(round)->ExportPartial());
  }
}

TEST(PartialSumTest, AnUpdateTakenBackIsInNoPartialSum) {
  for (const ModeTraits& mode : kModes) {
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      Dice dice(seed);
      const Layout layout = RandomLayout(dice);
      const Round round{RandomOptionsOf(mode.mode, dice), layout, {.round = 1, .learning_rate = 0.1f}, 3};
      SCOPED_TRACE(absl::StrCat("seed ", seed, ": ", Describe(round.options, layout)));
      const Update kept = RandomUpdateOf(dice, round.options, layout, round.parameters);
      const Update taken = RandomUpdateOf(dice, round.options, layout, round.parameters);
      const auto alone = Open(round);
      ASSERT_TRUE(alone->Add(kept.payload, kept.weight).ok());
      const auto sum = Open(round);
      ASSERT_TRUE(sum->Add(taken.payload, taken.weight).ok());
      ASSERT_TRUE(sum->Add(kept.payload, kept.weight).ok());
      ASSERT_TRUE(sum->Remove(taken.payload, taken.weight).ok());
      EXPECT_EQ(*sum->ExportPartial(), *alone->ExportPartial());
    }
  }
}

TEST(PartialSumTest, AnAggregatorWithAResidualHasNoPartialSums) {
  const Layout layout = *Layout::Create({{.name = "w", .shape = {70, 65}}});
  Dice dice(1);
  const Round round{Defaults(Mode::kDistro), layout, {.round = 1, .learning_rate = 0.1f}, 2};
  const auto sum = Open(round);
  ASSERT_TRUE(sum->Add(RandomUpdate(dice, round.options, layout)).ok());
  ASSERT_TRUE(sum->Finish().ok());
  ASSERT_TRUE(sum->BeginRound(round.parameters, 2).ok());
  EXPECT_EQ(sum->ExportPartial().status().code(), absl::StatusCode::kFailedPrecondition);
  const auto restored = *MakeAggregator(round.options, layout);
  ASSERT_TRUE(sum->BeginRound(round.parameters, 2).ok());
  ASSERT_TRUE(restored->RestoreState(sum->SaveState()).ok());
  ASSERT_TRUE(restored->BeginRound(round.parameters, 2).ok());
  EXPECT_EQ(restored->ExportPartial().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(PartialSumTest, AnotherRoundOrMoreUpdatesThanMembersAreRefused) {
  const Layout layout = *Layout::Create({{.name = "w", .shape = {70, 65}}});
  for (const ModeTraits& mode : kModes) {
    SCOPED_TRACE(mode.name);
    Dice dice(1);
    const Round round{Defaults(mode.mode), layout, {.round = 7, .learning_rate = 0.1f, .local_steps = 5}, 3};
    const Update update = RandomUpdateOf(dice, round.options, layout, round.parameters);
    const auto branch = Open(round);
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(branch->Add(update.payload).ok());
    }
    const std::string partial = *branch->ExportPartial();

    Round other = round;
    const auto refusal = [&] { return Open(other)->MergePartial(partial).code(); };
    other.parameters.round = 8;
    EXPECT_EQ(refusal(), absl::StatusCode::kInvalidArgument);
    other.parameters = {.round = 7, .learning_rate = 0.2f, .local_steps = 5};
    EXPECT_EQ(refusal(), absl::StatusCode::kInvalidArgument);
    other.parameters = {.round = 7, .learning_rate = 0.1f, .local_steps = 6};
    EXPECT_EQ(refusal(), absl::StatusCode::kInvalidArgument);
    other.parameters = round.parameters;
    other.members = 4;
    EXPECT_EQ(refusal(), absl::StatusCode::kInvalidArgument);

    const auto sum = Open(round);
    ASSERT_TRUE(sum->MergePartial(partial).ok());
    EXPECT_EQ(sum->MergePartial(partial).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(sum->Finish()->included, 2u);
  }
}

TEST(PartialSumTest, DamageAndAnotherModeOrLayoutAreDataLoss) {
  const Layout layout = *Layout::Create({{.name = "w", .shape = {70, 65}}});
  const Layout other = *Layout::Create({{.name = "w", .shape = {65, 70}}});
  for (const ModeTraits& mode : kModes) {
    const Round round{Defaults(mode.mode), layout, {.round = 1, .learning_rate = 0.1f}, 3};
    std::string partial = *Open(round)->ExportPartial();
    const Mode next = kModes[(static_cast<size_t>(mode.mode) + 1) % kModes.size()].mode;
    EXPECT_EQ(Open({Defaults(next), layout, round.parameters, 3})->MergePartial(partial).code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(Open({round.options, other, round.parameters, 3})->MergePartial(partial).code(), absl::StatusCode::kDataLoss);
    partial[partial.size() / 2] ^= 1;
    EXPECT_EQ(Open(round)->MergePartial(partial).code(), absl::StatusCode::kDataLoss);
  }
}

// A partial sum as somebody with a checksum of his own could write it.
class ForgedPartial {
 public:
  ForgedPartial(const Round& round, uint32_t added, uint64_t weights) : round_(round) {
    AppendLittleEndian<uint64_t>(round.parameters.round, body_);
    AppendLittleEndian<float>(round.parameters.learning_rate, body_);
    AppendLittleEndian<uint32_t>(round.parameters.local_steps, body_);
    AppendLittleEndian<uint32_t>(round.members, body_);
    AppendLittleEndian<uint32_t>(added, body_);
    AppendLittleEndian<uint64_t>(weights, body_);
  }
  // `first` at the first place, `others` at the others.
  ForgedPartial& Sums(int64_t first, int64_t others, int64_t places) {
    std::vector<int64_t> sums(places, others);
    sums[0] = first;
    AppendRuns(absl::MakeConstSpan(sums), body_);
    return *this;
  }
  // 1 at the first `count` places, 0 at the others.
  ForgedPartial& Ones(int64_t count, int64_t places) {
    std::vector<int64_t> ones(places);
    std::fill(ones.begin(), ones.begin() + count, 1);
    AppendRuns(absl::MakeConstSpan(ones), body_);
    return *this;
  }
  absl::Status Merge() const {
    const std::string kind = absl::StrCat("partial sum ", ModeName(round_.options.mode));
    return Open(round_)->MergePartial(SealState(kind, round_.layout, body_));
  }

 private:
  const Round& round_;
  std::string body_;
};

TEST(PartialSumTest, SumsThatSoManyUpdatesCannotReachAreRefused) {
  const Layout layout = *Layout::Create({{.name = "w", .shape = {64, 64}}});
  const int64_t places = 4096;
  struct Case {
    Mode mode;
    int64_t largest;  // of 3 updates of 4 members
  };
  for (const auto& [mode, largest] : {Case{Mode::kAllReduce, 3 * (int64_t{1} << 50)}, Case{Mode::kSignSgd, 3},
                                      Case{Mode::kDistro, 3 * (int64_t{1} << 28)}, Case{Mode::kLocal, 3 * (int64_t{1} << 59)}}) {
    SCOPED_TRACE(ModeName(mode));
    const Round round{Defaults(mode), layout, {.round = 1, .learning_rate = 0.1f}, 4};
    const uint64_t weights = 3 * uint64_t{kMaxWeight};
    for (const int sign : {1, -1}) {
      EXPECT_TRUE(ForgedPartial(round, 3, weights).Sums(sign * largest, 1, places).Merge().ok());
      EXPECT_THAT(ForgedPartial(round, 3, weights).Sums(sign * (largest + 1), 1, places).Merge().message(), HasSubstr("out of range"));
    }
    EXPECT_FALSE(ForgedPartial(round, 3, weights).Sums(std::numeric_limits<int64_t>::min(), 0, places).Merge().ok());
    EXPECT_FALSE(ForgedPartial(round, 0, 0).Sums(1, 0, places).Merge().ok()) << "a sum of nothing is nothing";
    EXPECT_FALSE(ForgedPartial(round, 3, weights - 1).Sums(1, 1, places).Merge().ok()) << "uniform weights";
    EXPECT_FALSE(ForgedPartial(round, 3, weights).Sums(1, 1, places - 1).Merge().ok()) << "too short";
    EXPECT_FALSE(ForgedPartial(round, 3, weights).Sums(1, 1, places + 1).Merge().ok()) << "too long";
  }
  // Where sites weigh by samples, three updates of weight 5 in all reach less than one of the largest weight.
  for (const auto& [mode, largest] : {Case{Mode::kFedAvg, 5 * (int64_t{1} << 26)}, Case{Mode::kDistro, 5 * (int64_t{1} << 35)},
                                      Case{Mode::kLocal, 5 * (int64_t{1} << 35)}}) {
    SCOPED_TRACE(absl::StrCat(ModeName(mode), " by samples"));
    Round round{Defaults(mode), layout, {.round = 1, .learning_rate = 0.1f}, 4};
    round.options.weighting = Weighting::kSamples;
    for (const int sign : {1, -1}) {
      EXPECT_TRUE(ForgedPartial(round, 3, 5).Sums(sign * largest, 1, places).Merge().ok());
      EXPECT_THAT(ForgedPartial(round, 3, 5).Sums(sign * (largest + 1), 1, places).Merge().message(), HasSubstr("out of range"));
    }
  }
  const Round demo{Defaults(Mode::kDemo), layout, {.round = 1, .learning_rate = 0.1f}, 4};
  const int64_t most = (int64_t{1} << 51) - 1;
  const uint64_t weights = 3 * uint64_t{kMaxWeight};
  EXPECT_TRUE(ForgedPartial(demo, 3, weights).Sums(2, 0, places).Sums(2 * most, 0, places).Merge().ok());
  EXPECT_FALSE(ForgedPartial(demo, 3, weights).Sums(2, 0, places).Sums(2 * most + 1, 0, places).Merge().ok()) << "more than two sent";
  EXPECT_FALSE(ForgedPartial(demo, 3, weights).Sums(4, 0, places).Sums(1, 0, places).Merge().ok()) << "more senders than updates";
  EXPECT_FALSE(ForgedPartial(demo, 3, weights).Sums(-1, 0, places).Sums(1, 0, places).Merge().ok());
}

TEST(PartialSumTest, MorePlacesOfAChunkThanSoManyUpdatesKeepAreRefused) {
  const Layout layout = *Layout::Create({{.name = "w", .shape = {64, 128}}});
  const int64_t places = 2 * 4096;  // two chunks
  Round touching{Defaults(Mode::kDistro), layout, {.round = 1, .learning_rate = 0.1f}, 4};
  touching.options.commit_k = 0;
  touching.options.k = 32;
  Round sending = touching;
  sending.options = Defaults(Mode::kDemo);
  sending.options.k = 32;
  const auto merge = [&](const Round& round, uint32_t added, int64_t named) {
    ForgedPartial partial(round, added, added * uint64_t{kMaxWeight});
    if (round.options.mode == Mode::kDemo) {
      return partial.Ones(named, places).Ones(0, places).Merge();
    }
    return partial.Ones(0, places).Ones(named, places).Merge();
  };
  for (const Round* round : {&touching, &sending}) {
    SCOPED_TRACE(ModeName(round->options.mode));
    EXPECT_TRUE(merge(*round, 0, 0).ok());
    EXPECT_FALSE(merge(*round, 0, 1).ok()) << "no update names a place";
    EXPECT_TRUE(merge(*round, 3, 96).ok());
    EXPECT_THAT(merge(*round, 3, 97).message(), HasSubstr("chunk 0: 97 components of 3 updates; allowed: up to 96"));
  }
}

// One place that holds all of its update reaches what its weight allows: the rounding of no weight may take it further.
TEST(PartialSumTest, TheLargestUpdatesOfAnyWeightsAreMerged) {
  const Layout layout = *Layout::Create({{.name = "w", .shape = {128, 64}}});
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    Dice dice(seed);
    Round round{Defaults(dice.Flip() ? Mode::kDistro : Mode::kLocal), layout, {.round = 1, .learning_rate = 0.1f}, 1};
    round.members = static_cast<uint32_t>(dice.Roll(1, int64_t{1} << dice.Roll(0, 12)));
    round.options.weighting = Weighting::kSamples;
    round.options.k = kChunkSize;
    round.options.value_bits = uint32_t{1} << dice.Roll(0, 3);
    const int32_t level = 1 << (round.options.value_bits - 1);
    const float scale = std::nextafter(512.0f / static_cast<float>(level), 0.0f);
    const ChunkPlan plan(round.options, layout);
    const std::string payload = EncodePayload(plan.update_shape(), SparseValues{{scale}, {0, 1, 1}, {0}, {-level}});
    const auto branch = Open(round);
    for (int64_t left = dice.Roll(1, std::min<int64_t>(round.members, 5)); left > 0; --left) {
      ASSERT_TRUE(branch->Add(payload, static_cast<uint32_t>(dice.Roll(1, int64_t{1} << dice.Roll(0, 24)))).ok());
    }
    EXPECT_EQ(Open(round)->MergePartial(*branch->ExportPartial()), absl::OkStatus())
        << "seed " << seed << ": " << Describe(round.options, layout) << ", " << round.members << " members";
  }
}

TEST(IntegerRunsTest, AListComesBackAndHasOneEncoding) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Dice dice(seed);
    std::vector<int64_t> values(dice.Roll(0, 40));
    for (int64_t& value : values) {
      value = dice.Flip() ? 0 : dice.Roll(-1000, 1000) << dice.Roll(0, 50);
    }
    std::string bytes;
    AppendRuns(absl::MakeConstSpan(values), bytes);
    std::vector<int64_t> back(values.size());
    absl::string_view rest = bytes;
    ASSERT_TRUE(ReadRuns(rest, std::numeric_limits<int64_t>::max(), absl::MakeSpan(back)).ok());
    EXPECT_TRUE(rest.empty());
    EXPECT_EQ(back, values);
    for (int i = 0; i < 50 && !bytes.empty(); ++i) {
      std::string changed = bytes;
      changed[dice.Roll(0, static_cast<int64_t>(bytes.size()) - 1)] ^= static_cast<char>(1 << dice.Roll(0, 7));
      rest = changed;
      if (!ReadRuns(rest, std::numeric_limits<int64_t>::max(), absl::MakeSpan(back)).ok()) {
        continue;
      }
      std::string again;
      AppendRuns(absl::MakeConstSpan(back), again);
      EXPECT_EQ(again, changed.substr(0, changed.size() - rest.size()));
    }
  }
}

TEST(IntegerRunsTest, LongFormsAndSplitRunsAreRefused) {
  std::vector<int64_t> values(2);
  for (const absl::string_view bytes : {absl::string_view("\x02\x82\x00", 3), absl::string_view("\x00\x01\x00\x01", 4),
                                        absl::string_view("\x00\x00\x02\x02", 4), absl::string_view("\x00\x03", 2)}) {
    absl::string_view rest = bytes;
    EXPECT_EQ(ReadRuns(rest, 100, absl::MakeSpan(values)).code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace tributary::optim
