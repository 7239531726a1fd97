#include "optim/snapshot.h"

#include <string>

#include "common/stored_bytes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "optim/state_hash.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

Layout TestLayout() {
  return *Layout::Create({{"a", {2, 3}}, {"b", {}}, {"c", {0, 4}}});
}

ReplicaState TestState() {
  ReplicaState state;
  state.round = 12;
  state.theta = {1, 2, 3, -4, 5e-30f, 0, -0.0f};
  state.slots = {{7, 6, 5, 4, 3, 2, 1}, {0, 0, 0, 0, 0, 0, 9}};
  return state;
}

TEST(SnapshotTest, ComesBackFromItsBytes) {
  const absl::StatusOr<ReplicaState> state = DecodeSnapshot(EncodeSnapshot(TestLayout(), TestState()), TestLayout(), 2);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->round, 12u);
  EXPECT_EQ(StateHash(TestLayout(), *state), StateHash(TestLayout(), TestState()));
  EXPECT_EQ(EncodeSnapshot(TestLayout(), *state), EncodeSnapshot(TestLayout(), TestState()));
}

// Of a model of several slices, through a sink and back from a file.
TEST(SnapshotTest, ASnapshotInPiecesIsTheSameBytes) {
  const Layout layout = *Layout::Create({{"a", {700, 1001}}});
  ReplicaState state;
  state.round = 3;
  for (int64_t i = 0; i < layout.size(); ++i) {
    state.theta.push_back(static_cast<float>(i));
  }
  state.slots = {state.theta};
  state.slots[0][5] = 7;
  std::string bytes;
  ASSERT_TRUE(WriteSnapshot(layout, state, [&bytes](absl::string_view piece) {
                EXPECT_LE(piece.size(), kSliceBytes);
                bytes.append(piece.data(), piece.size());
                return absl::OkStatus();
              }).ok());
  EXPECT_TRUE(bytes == EncodeSnapshot(layout, state));
  const SharedBytes stored = InMemory(bytes);
  const size_t half = bytes.size() / 2;
  const absl::StatusOr<ReplicaState> read =
      ReadSnapshot(*Concatenated({PartOf(stored, 0, half), PartOf(stored, half, bytes.size() - half)}), layout, 1);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->round, 3u);
  EXPECT_EQ(StateHash(layout, *read), StateHash(layout, state));
  bytes[bytes.size() - 40] ^= 1;
  EXPECT_THAT(ReadSnapshot(*InMemory(bytes), layout, 1).status().message(), HasSubstr("checksum"));
}

TEST(SnapshotTest, AnErrorOfTheSinkEndsTheSnapshot) {
  int pieces = 0;
  const auto full = [&pieces](absl::string_view) { return ++pieces < 2 ? absl::OkStatus() : absl::ResourceExhaustedError("no space"); };
  EXPECT_EQ(WriteSnapshot(TestLayout(), TestState(), full), absl::ResourceExhaustedError("no space"));
  EXPECT_EQ(pieces, 2);
}

// Of a damaged snapshot no field is to be believed.
TEST(SnapshotTest, DamageToWhatASnapshotSaysOfItselfIsNamedDamage) {
  std::string bytes = EncodeSnapshot(TestLayout(), TestState());
  bytes[8 + 4] ^= 1;  // the layout's hash
  EXPECT_THAT(DecodeSnapshot(bytes, TestLayout(), 2).status().message(), HasSubstr("checksum"));
}

TEST(SnapshotTest, AnEmptyModelComesBack) {
  const Layout layout = *Layout::Create({});
  ASSERT_TRUE(DecodeSnapshot(EncodeSnapshot(layout, {}), layout, 0).ok());
}

TEST(SnapshotTest, EveryTruncationIsDataLoss) {
  const std::string bytes = EncodeSnapshot(TestLayout(), TestState());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeSnapshot(bytes.substr(0, size), TestLayout(), 2).status().code(), absl::StatusCode::kDataLoss) << size;
  }
  EXPECT_EQ(DecodeSnapshot(bytes + '\0', TestLayout(), 2).status().code(), absl::StatusCode::kDataLoss);
}

TEST(SnapshotTest, EveryBitFlipIsDataLoss) {
  const std::string bytes = EncodeSnapshot(TestLayout(), TestState());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(DecodeSnapshot(flipped, TestLayout(), 2).status().code(), absl::StatusCode::kDataLoss) << bit;
  }
}

TEST(SnapshotTest, AnotherLayoutAndAnotherNumberOfSlotsAreNamed) {
  const std::string bytes = EncodeSnapshot(TestLayout(), TestState());
  const Layout other = *Layout::Create({{"a", {3, 2}}, {"b", {}}});
  EXPECT_THAT(DecodeSnapshot(bytes, other, 2).status().message(), HasSubstr("another model layout"));
  EXPECT_THAT(DecodeSnapshot(bytes, TestLayout(), 0).status().message(), HasSubstr("2 optimiser slots"));
}

}  // namespace
}  // namespace tributary::optim
