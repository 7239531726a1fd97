// Updates, commits and states that lie in files: the same bytes as in memory, read in slices.
#include <atomic>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "common/exit_codes.h"
#include "common/stored_bytes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/aggregator.h"
#include "optim/apply.h"
#include "optim/dense_payload.h"
#include "optim/encoder.h"
#include "optim/modes.h"
#include "optim/state_hash.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Le;

constexpr Mode kValueModes[] = {Mode::kAllReduce, Mode::kFedAvg, Mode::kDiLoCo};

// As a file: never a view, and it fails from some byte or some read on.
class FakeFile final : public StoredBytes {
 public:
  explicit FakeFile(std::string bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }
  absl::StatusOr<absl::string_view> Slice(uint64_t offset, uint64_t length, std::string& scratch) const override {
    uint64_t longest = longest_.load();
    while (longest < length && !longest_.compare_exchange_weak(longest, length)) {
    }
    if (reads_.fetch_add(1) >= good_reads || offset + length > good_bytes) {
      return absl::InternalError("the disk is gone");
    }
    scratch = bytes_.substr(offset, length);
    return scratch;
  }
  uint64_t longest() const { return longest_; }

  uint64_t good_bytes = std::numeric_limits<uint64_t>::max();
  uint64_t good_reads = std::numeric_limits<uint64_t>::max();

 private:
  const std::string bytes_;
  mutable std::atomic<uint64_t> reads_{0};
  mutable std::atomic<uint64_t> longest_{0};
};

std::shared_ptr<FakeFile> File(std::string bytes) {
  return std::make_shared<FakeFile>(std::move(bytes));
}

// Three slices of live values, whose borders are not those of blocks.
Layout SlicedLayout() {
  return *Layout::Create({{"a", {300, 301}}, {"still", {50}, true}, {"b", {69, 1001}}, {"empty", {0}}});
}

// Small layouts suit the modes that are not dense.
Layout SmallLayout() {
  return *Layout::Create({{"a", {67, 131}}, {"still", {50}, true}, {"b", {70}}});
}

Layout LayoutFor(Mode mode) {
  return UpdatesStayStored(mode) ? SlicedLayout() : SmallLayout();
}

struct Update {
  std::string payload;
  uint32_t weight = kMaxWeight;
};

std::vector<Update> Updates(const OptimizerOptions& options, const Layout& layout, int count) {
  Dice dice(7);
  std::vector<Update> updates;
  for (int i = 0; i < count; ++i) {
    Update& update = updates.emplace_back();
    update.payload = *(*MakeUpdateEncoder(options, layout))
                          ->Encode({.round = 1, .learning_rate = 0.1f, .local_steps = 1}, RandomFloats(dice, layout.size(), 0.01f));
    if (options.weighting == Weighting::kSamples) {
      update.weight = static_cast<uint32_t>(dice.Roll(1, 5000));
    }
  }
  return updates;
}

std::unique_ptr<Aggregator> Open(const OptimizerOptions& options, const Layout& layout) {
  std::unique_ptr<Aggregator> aggregator = *MakeAggregator(options, layout);
  EXPECT_TRUE(aggregator->BeginRound({.round = 1, .learning_rate = 0.1f}, 8).ok());
  return aggregator;
}

std::string RecordInMemory(const OptimizerOptions& options, const Layout& layout, absl::Span<const Update> updates) {
  const auto aggregator = Open(options, layout);
  for (const Update& update : updates) {
    EXPECT_TRUE(aggregator->Add(update.payload, update.weight).ok());
  }
  return EncodeCommit(*aggregator->Finish());
}

std::string FinishedRecord(Aggregator& aggregator, int threads = 1) {
  std::string record;
  const absl::StatusOr<CommitHead> head = aggregator.FinishRecord(
      [&record](absl::string_view piece) {
        record.append(piece.data(), piece.size());
        return absl::OkStatus();
      },
      threads);
  EXPECT_TRUE(head.ok()) << head.status();
  EXPECT_EQ(head.ok() ? EncodeCommitHead(*head) : "", record.substr(0, kCommitHeadBytes));
  return record;
}

std::vector<OptimizerOptions> Weightings(Mode mode) {
  std::vector<OptimizerOptions> options = {Defaults(mode)};
  if (TraitsOf(mode).keys.Has(Key::kWeighting)) {
    options.push_back(Defaults(mode));
    options.back().weighting = Weighting::kSamples;
  }
  return options;
}

TEST(StoredUpdatesTest, StoredUpdatesGiveTheRecordOfThoseInMemory) {
  for (const ModeTraits& mode : kModes) {
    const Layout layout = LayoutFor(mode.mode);
    for (const OptimizerOptions& options : Weightings(mode.mode)) {
      const std::vector<Update> updates = Updates(options, layout, 5);
      const std::string expected = RecordInMemory(options, layout, updates);
      for (const int threads : {1, 2, 5}) {
        const auto aggregator = Open(options, layout);
        for (const Update& update : updates) {
          ASSERT_TRUE(aggregator->AddStored(File(update.payload), update.weight).ok());
        }
        EXPECT_TRUE(FinishedRecord(*aggregator, threads) == expected) << mode.name << ", " << threads << " threads";
      }
    }
  }
}

TEST(StoredUpdatesTest, UpdatesOfBothKindsAndPartialSumsGiveOneSum) {
  for (const Mode mode : kValueModes) {
    const Layout layout = SlicedLayout();
    for (const OptimizerOptions& options : Weightings(mode)) {
      const std::vector<Update> updates = Updates(options, layout, 6);
      const auto branch = Open(options, layout);
      ASSERT_TRUE(branch->Add(updates[0].payload, updates[0].weight).ok());
      ASSERT_TRUE(branch->AddStored(File(updates[1].payload), updates[1].weight).ok());
      const absl::StatusOr<std::string> partial = branch->ExportPartial();
      ASSERT_TRUE(partial.ok()) << partial.status();

      const auto root = Open(options, layout);
      ASSERT_TRUE(root->AddStored(File(updates[2].payload), updates[2].weight).ok());
      ASSERT_TRUE(root->MergePartial(*partial).ok());
      ASSERT_TRUE(root->Add(updates[3].payload, updates[3].weight).ok());
      ASSERT_TRUE(root->AddStored(File(updates[4].payload), updates[4].weight).ok());
      ASSERT_TRUE(root->Add(updates[5].payload, updates[5].weight).ok());
      EXPECT_TRUE(FinishedRecord(*root) == RecordInMemory(options, layout, updates)) << ModeName(mode);
    }
  }
}

TEST(StoredUpdatesTest, AStoredUpdateTakenBackHasNoPart) {
  for (const ModeTraits& mode : kModes) {
    const Layout layout = LayoutFor(mode.mode);
    const OptimizerOptions options = Weightings(mode.mode).back();
    const std::vector<Update> updates = Updates(options, layout, 3);
    const auto aggregator = Open(options, layout);
    std::vector<SharedBytes> files;
    for (const Update& update : updates) {
      files.push_back(File(update.payload));
      ASSERT_TRUE(aggregator->AddStored(files.back(), update.weight).ok());
    }
    ASSERT_TRUE(aggregator->RemoveStored(files[1], updates[1].weight).ok());
    EXPECT_TRUE(FinishedRecord(*aggregator) == RecordInMemory(options, layout, {updates[0], updates[2]})) << mode.name;
  }
}

TEST(StoredUpdatesTest, OnlyWhatIsInTheRoundCanBeTakenBack) {
  const Layout layout = SlicedLayout();
  OptimizerOptions options = Defaults(Mode::kFedAvg);
  options.weighting = Weighting::kSamples;
  const std::string payload = Updates(options, layout, 1)[0].payload;
  const SharedBytes file = File(payload);
  const auto aggregator = Open(options, layout);
  EXPECT_EQ(aggregator->RemoveStored(file, 5).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(aggregator->AddStored(file, 5).ok());
  EXPECT_EQ(aggregator->RemoveStored(File(payload), 5).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(aggregator->RemoveStored(file, 6).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(aggregator->RemoveStored(file, 5).ok());
  EXPECT_EQ(FinishedRecord(*aggregator), RecordInMemory(options, layout, {}));
}

TEST(StoredUpdatesTest, AStoredUpdateOfTheWrongLengthOrOneTooManyIsRefused) {
  const Layout layout = SlicedLayout();
  const OptimizerOptions options = Defaults(Mode::kFedAvg);
  const std::string payload = Updates(options, layout, 1)[0].payload;
  const auto aggregator = *MakeAggregator(options, layout);
  EXPECT_EQ(aggregator->AddStored(File(payload)).code(), absl::StatusCode::kFailedPrecondition) << "no round is open";
  ASSERT_TRUE(aggregator->BeginRound({.round = 1, .learning_rate = 0.1f}, 1).ok());
  EXPECT_THAT(aggregator->AddStored(File(payload + "x")).message(), HasSubstr("bytes; this layout takes"));
  EXPECT_EQ(aggregator->AddStored(File(payload), 5).code(), absl::StatusCode::kInvalidArgument) << "a weight in a uniform run";
  ASSERT_TRUE(aggregator->AddStored(File(payload)).ok());
  EXPECT_EQ(aggregator->AddStored(File(payload)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(FinishedRecord(*aggregator) == RecordInMemory(options, layout, {{payload}}));
}

TEST(StoredUpdatesTest, AClosedRoundHoldsNoUpdate) {
  const Layout layout = SlicedLayout();
  const OptimizerOptions options = Defaults(Mode::kFedAvg);
  const std::string payload = Updates(options, layout, 1)[0].payload;
  const SharedBytes file = File(payload);
  const auto aggregator = Open(options, layout);
  ASSERT_TRUE(aggregator->AddStored(file).ok());
  ASSERT_TRUE(aggregator->RestoreState(aggregator->SaveState()).ok());
  EXPECT_EQ(file.use_count(), 1);
  ASSERT_TRUE(aggregator->BeginRound({.round = 1, .learning_rate = 0.1f}, 8).ok());
  ASSERT_TRUE(aggregator->AddStored(file).ok());
  ASSERT_TRUE(aggregator->ExportPartial().ok());
  EXPECT_EQ(file.use_count(), 1);
  ASSERT_TRUE(aggregator->BeginRound({.round = 1, .learning_rate = 0.1f}, 8).ok());
  ASSERT_TRUE(aggregator->AddStored(file).ok());
  EXPECT_TRUE(FinishedRecord(*aggregator) == RecordInMemory(options, layout, {{payload}}));
  EXPECT_EQ(file.use_count(), 1);
}

TEST(StoredUpdatesTest, NeitherUpdatesNorTheCommitAreReadOrWrittenWhole) {
  const Layout layout = SlicedLayout();
  const OptimizerOptions options = Defaults(Mode::kDiLoCo);
  const std::shared_ptr<FakeFile> file = File(Updates(options, layout, 1)[0].payload);
  ASSERT_TRUE(MeasureStoredUpdate(options, layout, *file).ok());
  const auto aggregator = Open(options, layout);
  ASSERT_TRUE(aggregator->AddStored(file).ok());
  std::vector<uint64_t> pieces;
  std::string record;
  ASSERT_TRUE(aggregator
                  ->FinishRecord([&](absl::string_view piece) {
                    pieces.push_back(piece.size());
                    record.append(piece.data(), piece.size());
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_THAT(pieces, Each(Le(kSliceBytes)));
  EXPECT_GT(pieces.size(), 3u);
  const std::shared_ptr<FakeFile> commit = File(record);
  ReplicaState state = *InitialState(options, layout, std::vector<float>(layout.size()));
  ASSERT_TRUE(ApplyRecord(options, layout, *commit, state).ok());
  EXPECT_LT(file->longest(), file->size() / 2);
  EXPECT_LT(commit->longest(), commit->size() / 2);
}

TEST(StoredUpdatesTest, TheRecordIsAsLongAsWasSaidBefore) {
  for (const ModeTraits& mode : kModes) {
    const Layout layout = SmallLayout();
    const OptimizerOptions options = Defaults(mode.mode);
    const std::optional<uint64_t> bytes = FixedRecordBytes(options, layout);
    ASSERT_EQ(bytes.has_value(), UpdatesStayStored(mode.mode)) << mode.name;
    if (bytes.has_value()) {
      EXPECT_EQ(*bytes, RecordInMemory(options, layout, Updates(options, layout, 1)).size()) << mode.name;
      EXPECT_EQ(*bytes, kCommitHeadBytes + MaxPayloadBytes(options, layout).commit) << mode.name;
    }
  }
}

TEST(StoredUpdatesTest, ACheckOfAStoredUpdateSaysWhatACheckInMemorySays) {
  const Layout layout = SlicedLayout();
  const OptimizerOptions options = Defaults(Mode::kAllReduce);
  const std::string payload = Updates(options, layout, 1)[0].payload;
  const auto aggregator = *MakeAggregator(options, layout);
  std::vector<std::string> bad = {"", payload.substr(1), payload + "x", payload.substr(0, 1)};
  for (const size_t place : {0, 90299, 90300, 159368}) {
    for (const float value : {2000.0f, -0.0f, std::numeric_limits<float>::quiet_NaN()}) {
      bad.push_back(payload);
      std::memcpy(bad.back().data() + 1 + 4 * place, &value, sizeof(value));
    }
  }
  EXPECT_TRUE(MeasureStoredUpdate(options, layout, *File(payload)).ok());
  for (const std::string& bytes : bad) {
    EXPECT_EQ(MeasureStoredUpdate(options, layout, *File(bytes)).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(MeasureStoredUpdate(options, layout, *File(bytes)).status(), aggregator->Check(bytes));
  }
  const auto file = File(payload);
  file->good_bytes = 400'000;
  EXPECT_EQ(MeasureStoredUpdate(options, layout, *file).status().message(), "the disk is gone");
}

// Whatever closes the round says why, and leaves the aggregator ready for the next.
TEST(StoredUpdatesTest, AnUpdateThatCannotBeReadOrIsDamagedClosesTheRoundWithThatError) {
  const Layout layout = SlicedLayout();
  const OptimizerOptions options = Defaults(Mode::kFedAvg);
  const std::string payload = Updates(options, layout, 1)[0].payload;
  const auto gone = File(payload);
  gone->good_bytes = 400'000;
  std::string changed = payload;
  changed[changed.size() - 1] = '\x7f';
  const auto aggregator = *MakeAggregator(options, layout);
  const auto close = [&](const SharedBytes& file, bool exports) {
    EXPECT_TRUE(aggregator->BeginRound({.round = 1, .learning_rate = 0.1f}, 8).ok());
    EXPECT_TRUE(aggregator->AddStored(File(payload)).ok());
    EXPECT_TRUE(aggregator->AddStored(file).ok());
    if (exports) {
      return aggregator->ExportPartial().status();
    }
    return aggregator->FinishRecord([](absl::string_view) { return absl::OkStatus(); }, 2).status();
  };
  for (const bool exports : {false, true}) {
    EXPECT_EQ(close(gone, exports).message(), "the disk is gone");
    EXPECT_EQ(ExitCodeOf(close(File(changed), exports)), ExitCode::kDamaged);
    EXPECT_EQ(aggregator->Finish().status().code(), absl::StatusCode::kFailedPrecondition);
    ASSERT_TRUE(aggregator->BeginRound({.round = 1, .learning_rate = 0.1f}, 8).ok());
    ASSERT_TRUE(aggregator->AddStored(File(payload)).ok());
    EXPECT_TRUE(FinishedRecord(*aggregator) == RecordInMemory(options, layout, {{payload}}));
  }
}

TEST(StoredUpdatesTest, AnErrorOfTheSinkEndsTheRecordAndClosesTheRound) {
  for (const ModeTraits& mode : kModes) {
    const Layout layout = LayoutFor(mode.mode);
    const OptimizerOptions options = Defaults(mode.mode);
    const std::vector<Update> updates = Updates(options, layout, 1);
    for (const int good : {0, 1}) {
      const auto aggregator = Open(options, layout);
      ASSERT_TRUE(aggregator->AddStored(File(updates[0].payload)).ok());
      int pieces = 0;
      const auto full = [&](absl::string_view) { return pieces++ < good ? absl::OkStatus() : absl::ResourceExhaustedError("no space"); };
      EXPECT_EQ(aggregator->FinishRecord(full).status(), absl::ResourceExhaustedError("no space"));
      EXPECT_EQ(pieces, good + 1);
      EXPECT_EQ(aggregator->Finish().status().code(), absl::StatusCode::kFailedPrecondition) << mode.name;
    }
  }
}

ReplicaState SomeState(const OptimizerOptions& options, const Layout& layout) {
  Dice dice(3);
  ReplicaState state = *InitialState(options, layout, RandomFloats(dice, layout.size()));
  for (std::vector<float>& slot : state.slots) {
    slot.assign(slot.size(), 0.25f);
  }
  return state;
}

TEST(ApplyRecordTest, ARecordMovesAStateAsItsCommitDoes) {
  for (const ModeTraits& mode : kModes) {
    const Layout layout = LayoutFor(mode.mode);
    const OptimizerOptions options = Defaults(mode.mode);
    for (const int count : {0, 3}) {
      const std::string record = RecordInMemory(options, layout, Updates(options, layout, count));
      ReplicaState expected = SomeState(options, layout);
      ASSERT_TRUE(Apply(options, layout, *DecodeCommit(record), expected).ok());
      for (const int threads : {1, 3}) {
        ReplicaState state = SomeState(options, layout);
        const absl::Status applied = ApplyRecord(options, layout, *File(record), state, threads);
        ASSERT_TRUE(applied.ok()) << applied;
        EXPECT_EQ(state.round, 1u);
        EXPECT_EQ(StateHash(layout, state), StateHash(layout, expected)) << mode.name;
      }
    }
  }
}

TEST(ApplyRecordTest, ADamagedRecordIsRefusedAndTheStateIsUnchanged) {
  for (const ModeTraits& mode : kModes) {
    const Layout layout = LayoutFor(mode.mode);
    const OptimizerOptions options = Defaults(mode.mode);
    const std::string record = RecordInMemory(options, layout, Updates(options, layout, 2));
    std::vector<std::string> bad = {"", record.substr(0, 20), record.substr(0, record.size() - 1), record + "x", record};
    bad.back().replace(record.size() - 4, 4, "\xff\xff\xff\xff");  // NaN; signs and components that no canonical payload ends with
    bad.push_back(record);
    bad.back()[1] = 2;  // of round 2
    for (const std::string& bytes : bad) {
      ReplicaState state = SomeState(options, layout);
      const Digest before = StateHash(layout, state);
      const absl::Status by_file = ApplyRecord(options, layout, *File(bytes), state, 2);
      EXPECT_FALSE(by_file.ok()) << mode.name;
      const absl::StatusOr<Commit> commit = DecodeCommit(bytes);
      EXPECT_EQ(by_file, commit.ok() ? Apply(options, layout, *commit, state) : commit.status()) << mode.name;
      EXPECT_EQ(StateHash(layout, state), before) << mode.name;
    }
  }
}

TEST(ApplyRecordTest, AnyNumberOfThreadsFindsTheSameDamage) {
  const Layout layout = SlicedLayout();
  const OptimizerOptions options = Defaults(Mode::kFedAvg);
  std::string record = RecordInMemory(options, layout, Updates(options, layout, 1));
  for (const size_t place : {90301, 90299, 159368}) {
    const float value = 1025.0f + static_cast<float>(place);
    std::memcpy(record.data() + kCommitHeadBytes + 1 + 4 * place, &value, sizeof(value));
  }
  ReplicaState state = SomeState(options, layout);
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(ApplyRecord(options, layout, *File(record), state, 3).message(), HasSubstr("block a: value 91324 "));
  }
}

TEST(ApplyRecordTest, ARecordThatCannotBeReadIsNotApplied) {
  for (const ModeTraits& mode : kModes) {
    const Layout layout = LayoutFor(mode.mode);
    const OptimizerOptions options = Defaults(mode.mode);
    const auto file = File(RecordInMemory(options, layout, Updates(options, layout, 2)));
    ReplicaState state = SomeState(options, layout);
    const Digest before = StateHash(layout, state);
    for (const uint64_t good : {uint64_t{10}, file->size() - 1}) {
      file->good_bytes = good;
      EXPECT_THAT(ApplyRecord(options, layout, *file, state, 2).message(), HasSubstr("the disk is gone")) << mode.name;
      EXPECT_EQ(StateHash(layout, state), before) << mode.name;
    }
  }
}

TEST(ApplyRecordTest, ARecordThatCannotBeReadAgainIsAnErrorAndNoRound) {
  const Layout layout = SlicedLayout();
  const OptimizerOptions options = Defaults(Mode::kFedAvg);
  const auto file = File(RecordInMemory(options, layout, Updates(options, layout, 2)));
  file->good_reads = 6;  // the head, the version, three slices, and the first of them again
  ReplicaState state = SomeState(options, layout);
  EXPECT_THAT(ApplyRecord(options, layout, *file, state).message(), HasSubstr("the disk is gone"));
  EXPECT_EQ(state.round, 0u);
}

}  // namespace
}  // namespace tributary::optim
