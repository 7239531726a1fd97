// Selection of a chunk's largest components, without a sort: the k-th largest of a few hundred group maxima bounds the k-th largest of all
// from below, and little more than k components reach that bound.
#ifndef TRIBUTARY_OPTIM_SELECT_H_
#define TRIBUTARY_OPTIM_SELECT_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace tributary::optim {

// Work space of one thread.
template <typename Key>
struct SelectWorkspace {
  std::vector<Key> group_max;
  std::vector<std::pair<Key, uint16_t>> candidates;
};

// Indices, ascending, of the `k` values of largest magnitude; of equal ones those of lower index; never a zero, so there may be fewer. At
// most kChunkSize values.
//
// `fold` > 0: values are a transposed spectrum (optim/dct.h) of `fold` column frequencies, and the value at [d, b] has index b * fold + d.
void SelectLargest(absl::Span<const float> values, int k, int fold, SelectWorkspace<uint32_t>& work, std::vector<uint16_t>& selected);
void SelectLargest(absl::Span<const int32_t> values, int k, SelectWorkspace<uint32_t>& work, std::vector<uint16_t>& selected);
void SelectLargest(absl::Span<const int64_t> values, int k, SelectWorkspace<uint64_t>& work, std::vector<uint16_t>& selected);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_SELECT_H_
