// Which samples are held out for validation, and which of these are evaluated.
#ifndef TRIBUTARY_WORKER_DATA_SPACING_H_
#define TRIBUTARY_WORKER_DATA_SPACING_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace tributary::worker {

// Whether sample `place` is for validation: every tenth for .1, whatever the seed, so that samples sorted by class are split fairly.
inline bool IsHeldOut(uint64_t place, double fraction) {
  return std::floor(static_cast<double>(place + 1) * fraction) > std::floor(static_cast<double>(place) * fraction);
}

// Picks at most batches * rows of `available` >= 1 places, from first to last at even distances, in batches of `rows`.
class EvenSpacing {
 public:
  EvenSpacing(uint64_t available, uint32_t batches, uint32_t rows)
      : available_(available), rows_(rows), picked_(std::min(available, uint64_t{batches} * rows)) {}

  uint32_t batches() const { return static_cast<uint32_t>((picked_ + rows_ - 1) / rows_); }
  uint32_t RowsOf(uint32_t batch) const { return static_cast<uint32_t>(std::min<uint64_t>(rows_, picked_ - FirstOf(batch))); }
  // The place of row `row` of batch `batch`.
  uint64_t Place(uint32_t batch, uint32_t row) const {
    if (picked_ == 1) {
      return 0;
    }
    const auto place = static_cast<unsigned __int128>(FirstOf(batch) + row) * (available_ - 1) / (picked_ - 1);
    return static_cast<uint64_t>(place);
  }

 private:
  uint64_t FirstOf(uint32_t batch) const { return uint64_t{batch} * rows_; }

  uint64_t available_;
  uint64_t rows_;
  uint64_t picked_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_SPACING_H_
