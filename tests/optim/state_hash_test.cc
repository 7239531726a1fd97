#include <vector>

#include "common/checksum.h"
#include "gtest/gtest.h"
#include "optim/replica_state.h"
#include "optim/state_hash.h"

namespace tributary::optim {
namespace {

Layout TestLayout() {
  return *Layout::Create({{"a", {700, 1000}}, {"b", {}}, {"c", {0}}, {"d", {5}}});
}

ReplicaState TestState(const Layout& layout) {
  ReplicaState state;
  state.round = 3;
  state.theta.resize(layout.size());
  for (size_t i = 0; i < state.theta.size(); ++i) {
    state.theta[i] = static_cast<float>(i) * 0.5f;
  }
  state.slots.push_back(std::vector<float>(layout.size(), 1.0f));
  return state;
}

// The tree of docs/reference/wire_format.md by hand, for one block of one piece.
TEST(StateHashTest, IsTheTreeOfTheDocument) {
  const Layout layout = *Layout::Create({{"a", {1}}});
  ReplicaState state;
  state.round = 2;
  state.theta = {1.0f};
  auto text = [](const Digest& digest) { return std::string(reinterpret_cast<const char*>(digest.data()), digest.size()); };
  const Digest leaf = Sha256(std::string("\x00\x00\x00\x80\x3f", 5));
  const Digest block = Sha256(std::string("\x01", 1) + text(leaf));
  const std::string header("\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
  EXPECT_EQ(StateHash(layout, state), Sha256(std::string("\x02", 1) + text(layout.hash()) + header + text(block)));
}

TEST(StateHashTest, DoesNotDependOnTheNumberOfThreads) {
  const Layout layout = TestLayout();
  const ReplicaState state = TestState(layout);
  const Digest one = StateHash(layout, state);
  for (int threads : {2, 3, 16}) {
    EXPECT_EQ(StateHash(layout, state, threads), one);
  }
}

TEST(StateHashTest, WhoHoldsTheBlocksHashesGetsTheSameHashAfterBlocksMoved) {
  const Layout layout = *Layout::Create({{"moves", {300, 1000}}, {"frozen", {400000}, true}, {"empty", {0}}, {"last", {5}}});
  ReplicaState state = TestState(layout);
  BlockHashes held;
  ASSERT_EQ(StateHash(layout, state, 1, held), StateHash(layout, state));
  ASSERT_EQ(held.size(), 8u);
  for (int threads : {1, 3}) {
    ++state.round;
    state.theta[299999] += 1;
    state.slots[0].back() += 1;
    EXPECT_EQ(StateHash(layout, state, threads, held), StateHash(layout, state));
  }
}

TEST(StateHashTest, OnlyFrozenBlocksAreTakenFromWhatIsHeld) {
  const Layout layout = *Layout::Create({{"moves", {5}}, {"frozen", {5}, true}});
  const ReplicaState state = TestState(layout);
  BlockHashes held;
  StateHash(layout, state, 1, held);
  for (Digest& digest : held) {
    digest[0] ^= 1;
  }
  const BlockHashes spoilt = held;
  EXPECT_NE(StateHash(layout, state, 1, held), StateHash(layout, state));
  EXPECT_NE(held[0], spoilt[0]);
  EXPECT_EQ(held[1], spoilt[1]);
  EXPECT_NE(held[2], spoilt[2]);
  EXPECT_EQ(held[3], spoilt[3]);
}

TEST(StateHashTest, ChangesWithEveryPartOfTheState) {
  const Layout layout = TestLayout();
  const ReplicaState state = TestState(layout);
  const Digest hash = StateHash(layout, state);

  ReplicaState round = state;
  round.round = 4;
  EXPECT_NE(StateHash(layout, round), hash);

  for (int64_t place : {int64_t{0}, int64_t{262143}, int64_t{262144}, int64_t{699999}, layout.size() - 1}) {
    ReplicaState theta = state;
    theta.theta[place] += 1;
    EXPECT_NE(StateHash(layout, theta), hash) << place;
    ReplicaState slot = state;
    slot.slots[0][place] += 1;
    EXPECT_NE(StateHash(layout, slot), hash) << place;
  }

  ReplicaState zero = state;
  zero.theta[0] = -0.0f;
  EXPECT_NE(StateHash(layout, zero), hash) << "the second zero is another bit pattern";

  ReplicaState fewer = state;
  fewer.slots.clear();
  EXPECT_NE(StateHash(layout, fewer), hash);

  const Layout renamed = *Layout::Create({{"a", {700, 1000}}, {"B", {}}, {"c", {0}}, {"d", {5}}});
  EXPECT_NE(StateHash(renamed, state), hash);
}

}  // namespace
}  // namespace tributary::optim
