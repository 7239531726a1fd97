#include "optim/layout.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::optim {
namespace {

using ::testing::HasSubstr;

TEST(LayoutTest, LaysBlocksOutOneAfterAnother) {
  const absl::StatusOr<Layout> layout =
      Layout::Create({{"scalar", {}}, {"empty", {3, 0}}, {"matrix", {4, 5}}, {"conv", {2, 3, 1, 1}, true}});
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(layout->size(), 27);
  EXPECT_EQ(layout->blocks()[0].size, 1);
  EXPECT_EQ(layout->blocks()[1].size, 0);
  EXPECT_EQ(layout->blocks()[2].offset, 1);
  EXPECT_EQ(layout->blocks()[3].offset, 21);
  EXPECT_TRUE(layout->blocks()[3].frozen);
}

TEST(LayoutTest, TheHashTellsNamesShapesFlagsAndOrderApart) {
  const Digest hash = Layout::Create({{"a", {2, 3}}, {"b", {1}}})->hash();
  EXPECT_EQ(Layout::Create({{"a", {2, 3}}, {"b", {1}}})->hash(), hash);
  EXPECT_NE(Layout::Create({{"b", {1}}, {"a", {2, 3}}})->hash(), hash);
  EXPECT_NE(Layout::Create({{"a", {3, 2}}, {"b", {1}}})->hash(), hash);
  EXPECT_NE(Layout::Create({{"a", {6}}, {"b", {1}}})->hash(), hash);
  EXPECT_NE(Layout::Create({{"a", {2, 3}}, {"b", {}}})->hash(), hash);
  EXPECT_NE(Layout::Create({{"a", {2, 3}, true}, {"b", {1}}})->hash(), hash);
  EXPECT_NE(Layout::Create({{"a", {2, 3}}})->hash(), hash);
}

TEST(LayoutTest, BadBlocksAreNamed) {
  auto message = [](std::vector<Block> blocks) { return std::string(Layout::Create(std::move(blocks)).status().message()); };
  EXPECT_THAT(message({{"", {1}}}), HasSubstr("no name"));
  EXPECT_THAT(message({{"a", {1}}, {"a", {2}}}), HasSubstr("two blocks are named a"));
  EXPECT_THAT(message({{"a", {-1}}}), HasSubstr("extent -1 is negative"));
  EXPECT_THAT(message({{"a", {1 << 20, 1 << 20, 2}}}), HasSubstr("block a: more than"));
  EXPECT_THAT(message({{"a", {1 << 20, 1 << 20}}, {"b", {1}}}), HasSubstr("up to block b"));
  const int64_t huge = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(message({{"a", {huge, huge, huge}}}), HasSubstr("more than"));
}

}  // namespace
}  // namespace tributary::optim
