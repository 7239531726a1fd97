#include "optim/select.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/optim/random_updates.h"

namespace tributary::optim {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The definition: a stable sort.
template <typename T>
std::vector<uint16_t> Sorted(const std::vector<T>& values, int k) {
  std::vector<uint16_t> order;
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != 0) {
      order.push_back(static_cast<uint16_t>(i));
    }
  }
  const auto magnitude = [&](uint16_t i) {
    return values[i] < 0 ? -static_cast<long double>(values[i]) : static_cast<long double>(values[i]);
  };
  std::stable_sort(order.begin(), order.end(), [&](uint16_t a, uint16_t b) { return magnitude(a) > magnitude(b); });
  order.resize(std::min<size_t>(order.size(), k));
  std::sort(order.begin(), order.end());
  return order;
}

template <typename T>
std::vector<uint16_t> Selected(const std::vector<T>& values, int k) {
  SelectWorkspace<std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>> work;
  std::vector<uint16_t> selected;
  if constexpr (std::is_same_v<T, float>) {
    SelectLargest(absl::MakeConstSpan(values), k, 0, work, selected);
  } else {
    SelectLargest(absl::MakeConstSpan(values), k, work, selected);
  }
  return selected;
}

template <typename T>
class SelectTest : public ::testing::Test {};
using ValueTypes = ::testing::Types<float, int32_t, int64_t>;
TYPED_TEST_SUITE(SelectTest, ValueTypes);

TYPED_TEST(SelectTest, EqualsASortForAllLengthsAndTies) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Dice dice(seed);
    const int64_t length = dice.Flip() ? kChunkSize : dice.Roll(1, kChunkSize);
    const int k = static_cast<int>(dice.Flip() ? dice.Roll(1, 70) : dice.Roll(1, length));
    const int64_t range = dice.Flip() ? 3 : 1 << 20;  // many ties and zeros, or hardly any
    std::vector<TypeParam> values;
    for (int64_t i = 0; i < length; ++i) {
      values.push_back(static_cast<TypeParam>(dice.Roll(-range, range)));
    }
    ASSERT_EQ(Selected(values, k), Sorted(values, k)) << "seed " << seed << ", length " << length << ", k " << k;
  }
}

TYPED_TEST(SelectTest, NeverTakesAZero) {
  std::vector<TypeParam> values(4096, 0);
  EXPECT_THAT(Selected(values, 8), IsEmpty());
  values[77] = -3;
  EXPECT_THAT(Selected(values, 8), ElementsAre(77));
}

TYPED_TEST(SelectTest, OfEqualMagnitudesTakesTheLowerIndex) {
  std::vector<TypeParam> values(4096, 1);
  values[4000] = -1;
  EXPECT_THAT(Selected(values, 3), ElementsAre(0, 1, 2));
}

TEST(SelectInt64Test, RanksMagnitudesBeyond32Bits) {
  std::vector<int64_t> values(200, 1);
  values[3] = int64_t{1} << 61;
  values[150] = -(int64_t{1} << 61) - 1;
  EXPECT_THAT(Selected(values, 1), ElementsAre(150));
}

TEST(SelectFoldedTest, TiesGoToTheLowerIndexOfTheSpectrumNotOfItsTransposition) {
  constexpr int kCols = 40;
  std::vector<float> values(kCols * kTileEdge, 0.0f);
  values[5 * kTileEdge + 2] = 1.0f;  // d 5, b 2: index 85
  values[3 * kTileEdge + 9] = 1.0f;  // d 3, b 9: index 363
  values[7 * kTileEdge + 0] = 1.0f;  // d 7, b 0: index 7
  SelectWorkspace<uint32_t> work;
  std::vector<uint16_t> selected;
  SelectLargest(values, 2, kCols, work, selected);
  EXPECT_THAT(selected, ElementsAre(7, 85));
}

}  // namespace
}  // namespace tributary::optim
