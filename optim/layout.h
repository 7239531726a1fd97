// The names, shapes and places of a model's parameters in one flat fp32 vector.
//
// Coordinator and worker derive the same layout from the run's model specification (optim/model_spec.h), so a payload never carries
// names or shapes; its receiver checks the layout's hash instead.
#ifndef TRIBUTARY_OPTIM_LAYOUT_H_
#define TRIBUTARY_OPTIM_LAYOUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/checksum.h"

namespace tributary::optim {

// One named parameter tensor, row-major, at theta[offset, offset + size).
struct Block {
  std::string name;
  std::vector<int64_t> shape;  // empty: a scalar; a zero extent: an empty block
  bool frozen = false;         // never moved by Apply, never sent
  int64_t offset = 0;          // in elements; filled by Layout::Create
  int64_t size = 0;            // product of shape; filled by Layout::Create
};

// Immutable; safe to share between threads.
class Layout {
 public:
  Layout() = default;

  // Lays the blocks out one after another, in the order given.
  // InvalidArgument: an empty or repeated name, a negative extent, more than 2^40 elements in all.
  static absl::StatusOr<Layout> Create(std::vector<Block> blocks);

  absl::Span<const Block> blocks() const { return blocks_; }
  int64_t size() const { return size_; }  // elements of theta
  // Over names, shapes and frozen flags, in order.
  const Digest& hash() const { return hash_; }

 private:
  std::vector<Block> blocks_;
  int64_t size_ = 0;
  Digest hash_{};
};

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_LAYOUT_H_
