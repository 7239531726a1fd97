#include "optim/select.h"

#include <algorithm>
#include <bit>
#include <cstddef>

#include "optim/options.h"
#include "optim/simd.h"

namespace tributary::optim {
namespace {

// Values at a distance that is a multiple of this share a group: group maxima are vertical, which suits SIMD.
constexpr int64_t kLanes = kTileEdge;

inline uint32_t Magnitude(float value) {
  return std::bit_cast<uint32_t>(value) & 0x7fffffffu;
}
inline uint32_t Magnitude(int32_t value) {
  return value < 0 ? 0u - static_cast<uint32_t>(value) : static_cast<uint32_t>(value);
}
inline uint64_t Magnitude(int64_t value) {
  return value < 0 ? 0u - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
}

inline __attribute__((always_inline)) void MaxOfRows(const auto* values, int64_t rows, auto* max) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const auto magnitude = Magnitude(values[r * kLanes + lane]);
      max[lane] = magnitude > max[lane] ? magnitude : max[lane];
    }
  }
}

TRIBUTARY_SIMD_CLONES void GroupMax(const float* values, int64_t rows, uint32_t* max) {
  MaxOfRows(values, rows, max);
}
TRIBUTARY_SIMD_CLONES void GroupMax(const int32_t* values, int64_t rows, uint32_t* max) {
  MaxOfRows(values, rows, max);
}
TRIBUTARY_SIMD_CLONES void GroupMax(const int64_t* values, int64_t rows, uint64_t* max) {
  MaxOfRows(values, rows, max);
}

inline __attribute__((always_inline)) int64_t CountOf(const auto* keys, int64_t n, auto bound) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += kLanes) {
    uint32_t some = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      some += keys[i + lane] >= bound ? 1 : 0;
    }
    count += some;
  }
  return count;
}

// How many of `keys`, a multiple of kLanes, reach the bound.
TRIBUTARY_SIMD_CLONES int64_t CountAtLeast(const uint32_t* keys, int64_t n, uint32_t bound) {
  return CountOf(keys, n, bound);
}
TRIBUTARY_SIMD_CLONES int64_t CountAtLeast(const uint64_t* keys, int64_t n, uint64_t bound) {
  return CountOf(keys, n, bound);
}

// A bound, at least 1, that at least `k` of the keys reach if so many are not zero, and hardly more than k: the k-th largest key to its
// leading bits. By bisection, because counting has no branches to mispredict.
template <typename Key>
Key BoundOf(const std::vector<Key>& keys, int k) {
  constexpr int kBits = 16;  // an fp32 exponent and half the mantissa
  Key all = 0;
  for (const Key key : keys) {
    all |= key;
  }
  const int top = static_cast<int>(std::bit_width(all)) - 1;
  Key bound = 0;
  for (int bit = top; bit >= 0 && bit > top - kBits; --bit) {
    const Key higher = bound | Key{1} << bit;
    if (CountAtLeast(keys.data(), static_cast<int64_t>(keys.size()), higher) >= k) {
      bound = higher;
    }
  }
  return std::max<Key>(bound, 1);
}

// Calls visit(position) for every value that may be among the k largest: all that reach a bound which at least k values reach.
template <typename T, typename Key, typename Visit>
void VisitCandidates(absl::Span<const T> values, int k, SelectWorkspace<Key>& work, const Visit& visit) {
  const auto size = static_cast<int64_t>(values.size());
  const int64_t rows = (size + kLanes - 1) / kLanes;
  const int64_t parts = (int64_t{4} * k + kLanes - 1) / kLanes;  // of the rows, so that there are at least 4k groups
  if (parts * 2 > rows) {
    for (int64_t i = 0; i < size; ++i) {
      if (values[i] != 0) {
        visit(i);
      }
    }
    return;
  }
  work.group_max.assign(parts * kLanes, 0);
  const int64_t whole_rows = size / kLanes;
  for (int64_t part = 0; part < parts; ++part) {
    Key* max = work.group_max.data() + part * kLanes;
    const int64_t begin = rows * part / parts;
    const int64_t end = rows * (part + 1) / parts;
    GroupMax(values.data() + begin * kLanes, std::min(end, whole_rows) - begin, max);
    for (int64_t i = std::max(begin, whole_rows) * kLanes; i < std::min(end * kLanes, size); ++i) {
      max[i % kLanes] = std::max(max[i % kLanes], Magnitude(values[i]));
    }
  }
  const Key bound = BoundOf(work.group_max, k);
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t end = std::min(rows * (part + 1) / parts * kLanes, size);
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      if (work.group_max[part * kLanes + lane] < bound) {
        continue;
      }
      for (int64_t i = rows * part / parts * kLanes + lane; i < end; i += kLanes) {
        if (Magnitude(values[i]) >= bound) {
          visit(i);
        }
      }
    }
  }
}

template <typename T, typename Key, typename IndexOf>
void Select(absl::Span<const T> values, int k, const IndexOf& index_of, SelectWorkspace<Key>& work, std::vector<uint16_t>& selected) {
  auto& candidates = work.candidates;
  candidates.clear();
  VisitCandidates(values, k, work, [&](int64_t i) { candidates.emplace_back(Magnitude(values[i]), index_of(i)); });
  if (candidates.size() > static_cast<size_t>(k)) {
    std::nth_element(candidates.begin(), candidates.begin() + k, candidates.end(),
                     [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
    candidates.resize(k);
  }
  selected.clear();
  for (const auto& candidate : candidates) {
    selected.push_back(candidate.second);
  }
  std::sort(selected.begin(), selected.end());
}

constexpr auto kSameIndex = [](int64_t i) { return static_cast<uint16_t>(i); };

}  // namespace

void SelectLargest(absl::Span<const float> values, int k, int fold, SelectWorkspace<uint32_t>& work, std::vector<uint16_t>& selected) {
  if (fold == 0) {
    Select(values, k, kSameIndex, work, selected);
  } else {
    Select(
        values, k, [fold](int64_t i) { return static_cast<uint16_t>(i % kTileEdge * fold + i / kTileEdge); }, work, selected);
  }
}

void SelectLargest(absl::Span<const int32_t> values, int k, SelectWorkspace<uint32_t>& work, std::vector<uint16_t>& selected) {
  Select(values, k, kSameIndex, work, selected);
}

void SelectLargest(absl::Span<const int64_t> values, int k, SelectWorkspace<uint64_t>& work, std::vector<uint16_t>& selected) {
  Select(values, k, kSameIndex, work, selected);
}

}  // namespace tributary::optim
