#include "common/merkle_tree.h"

#include <bit>
#include <cstddef>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

// The greatest power of two below `count`, which is at least 2: where RFC 9162 cuts a list in two.
uint64_t Cut(uint64_t count) {
  return std::bit_floor(count - 1);
}

// The head of records first..first+count-1, where `first` is a multiple of the least power of two that is not below `count`.
absl::StatusOr<Digest> HeadOf(uint64_t first, uint64_t count, MerkleNodes nodes) {
  if (std::has_single_bit(count)) {
    const int level = std::countr_zero(count);
    return nodes(level, first >> level);
  }
  const uint64_t cut = Cut(count);
  TRIBUTARY_ASSIGN_OR_RETURN(const Digest left, HeadOf(first, cut, nodes));
  TRIBUTARY_ASSIGN_OR_RETURN(const Digest right, HeadOf(first + cut, count - cut, nodes));
  return MerkleNode(left, right);
}

absl::Status NotShown(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the proof does not show that ", what));
}

}  // namespace

Digest MerkleLeaf(absl::string_view record) {
  Sha256Hasher hasher;
  hasher.Update(absl::string_view("\0", 1));
  hasher.Update(record);
  return hasher.Finish();
}

Digest MerkleNode(const Digest& left, const Digest& right) {
  Sha256Hasher hasher;
  hasher.Update("\1");
  hasher.Update(AsBytes(left));
  hasher.Update(AsBytes(right));
  return hasher.Finish();
}

absl::StatusOr<MerkleFrontier> MerkleFrontier::Of(uint64_t size, MerkleNodes nodes) {
  MerkleFrontier frontier;
  frontier.size_ = size;
  for (uint64_t first = 0; first < size;) {
    const uint64_t count = std::bit_floor(size - first);
    TRIBUTARY_ASSIGN_OR_RETURN(const Digest node, HeadOf(first, count, nodes));
    frontier.nodes_.push_back(node);
    first += count;
  }
  return frontier;
}

Digest MerkleFrontier::Root() const {
  std::optional<Digest> root;
  for (auto node = nodes_.rbegin(); node != nodes_.rend(); ++node) {
    root = root.has_value() ? MerkleNode(*node, *root) : *node;
  }
  return root.has_value() ? *root : Sha256("");
}

void MerkleFrontier::Append(const Digest& leaf, absl::FunctionRef<void(int level, uint64_t index, const Digest& hash)> completed) {
  Digest hash = leaf;
  uint64_t index = size_;
  completed(0, index, hash);
  for (int level = 1; (index & 1) != 0; ++level) {
    hash = MerkleNode(nodes_.back(), hash);
    nodes_.pop_back();
    index >>= 1;
    completed(level, index, hash);
  }
  nodes_.push_back(hash);
  ++size_;
}

absl::StatusOr<Digest> MerkleRoot(uint64_t size, MerkleNodes nodes) {
  return size == 0 ? Sha256("") : HeadOf(0, size, nodes);
}

absl::StatusOr<std::vector<Digest>> InclusionProof(uint64_t index, uint64_t size, MerkleNodes nodes) {
  if (index >= size) {
    return absl::OutOfRangeError(absl::StrCat("there is no record ", index, " among ", size));
  }
  // From the whole list down to the record; what is left aside on the way, in reverse, leads back up.
  std::vector<Digest> aside;
  uint64_t first = 0;
  for (uint64_t count = size; count > 1;) {
    const uint64_t cut = Cut(count);
    const bool goes_left = index < first + cut;
    TRIBUTARY_ASSIGN_OR_RETURN(const Digest other, goes_left ? HeadOf(first + cut, count - cut, nodes) : HeadOf(first, cut, nodes));
    aside.push_back(other);
    first += goes_left ? 0 : cut;
    count = goes_left ? cut : count - cut;
  }
  return std::vector<Digest>(aside.rbegin(), aside.rend());
}

absl::StatusOr<std::vector<Digest>> ConsistencyProof(uint64_t from, uint64_t to, MerkleNodes nodes) {
  if (from > to) {
    return absl::OutOfRangeError(absl::StrCat("a list of ", to, " records does not begin with one of ", from));
  }
  if (from == 0 || from == to) {
    return std::vector<Digest>();
  }
  // Down to the part that ends where the earlier list does (SUBPROOF in RFC 9162, 2.1.4.1).
  std::vector<Digest> aside;
  uint64_t first = 0;
  uint64_t count = to;
  while (first + count != from) {
    const uint64_t cut = Cut(count);
    const bool goes_left = from <= first + cut;
    TRIBUTARY_ASSIGN_OR_RETURN(const Digest other, goes_left ? HeadOf(first + cut, count - cut, nodes) : HeadOf(first, cut, nodes));
    aside.push_back(other);
    first += goes_left ? 0 : cut;
    count = goes_left ? cut : count - cut;
  }
  // Where the earlier list is that part alone, whoever verifies knows its head.
  if (first != 0) {
    TRIBUTARY_ASSIGN_OR_RETURN(const Digest last, HeadOf(first, count, nodes));
    aside.push_back(last);
  }
  return std::vector<Digest>(aside.rbegin(), aside.rend());
}

absl::Status VerifyInclusion(const Digest& leaf, uint64_t index, uint64_t size, absl::Span<const Digest> proof, const Digest& root) {
  const absl::Status not_shown = NotShown(absl::StrCat("record ", index, " is in the list of ", size));
  if (index >= size) {
    return not_shown;
  }
  // RFC 9162, 2.1.3.2.
  uint64_t node = index;
  uint64_t last = size - 1;
  Digest hash = leaf;
  for (const Digest& other : proof) {
    if (last == 0) {
      return not_shown;
    }
    if ((node & 1) != 0 || node == last) {
      hash = MerkleNode(other, hash);
      while ((node & 1) == 0 && node != 0) {
        node >>= 1;
        last >>= 1;
      }
    } else {
      hash = MerkleNode(hash, other);
    }
    node >>= 1;
    last >>= 1;
  }
  return last == 0 && hash == root ? absl::OkStatus() : not_shown;
}

absl::Status VerifyConsistency(uint64_t from, const Digest& from_root, uint64_t to, const Digest& to_root, absl::Span<const Digest> proof) {
  const absl::Status not_shown = NotShown(absl::StrCat("the list of ", to, " records begins with the one of ", from));
  if (from > to || (from == to && from_root != to_root) || (from == 0 && from_root != Sha256(""))) {
    return not_shown;
  }
  if (from == 0 || from == to) {
    return proof.empty() ? absl::OkStatus() : not_shown;
  }
  // RFC 9162, 2.1.4.2.
  const bool is_whole_node = std::has_single_bit(from);
  if (!is_whole_node && proof.empty()) {
    return not_shown;
  }
  const int skipped = std::countr_one(from - 1);
  uint64_t node = (from - 1) >> skipped;
  uint64_t last = (to - 1) >> skipped;
  Digest old_hash = is_whole_node ? from_root : proof.front();
  Digest new_hash = old_hash;
  for (const Digest& other : proof.subspan(is_whole_node ? 0 : 1)) {
    if (last == 0) {
      return not_shown;
    }
    if ((node & 1) != 0 || node == last) {
      old_hash = MerkleNode(other, old_hash);
      new_hash = MerkleNode(other, new_hash);
      while ((node & 1) == 0 && node != 0) {
        node >>= 1;
        last >>= 1;
      }
    } else {
      new_hash = MerkleNode(new_hash, other);
    }
    node >>= 1;
    last >>= 1;
  }
  return last == 0 && old_hash == from_root && new_hash == to_root ? absl::OkStatus() : not_shown;
}

}  // namespace tributary
