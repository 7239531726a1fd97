// The Merkle tree of RFC 9162 (and RFC 6962), section 2.1, over SHA-256: an append-only list of records whose head, 32 bytes, stands for
// all of them, with short proofs that a record is in it and that a later list begins with an earlier one.
//
// Records are counted from 0, and `size` is how many a list has. A node (level, index) stands for the records from index * 2^level up to,
// without it, (index + 1) * 2^level, all of them there; level 0 are the leaves.
#ifndef TRIBUTARY_COMMON_MERKLE_TREE_H_
#define TRIBUTARY_COMMON_MERKLE_TREE_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/checksum.h"

namespace tributary {

// SHA-256(0x00 || record) and SHA-256(0x01 || left || right).
Digest MerkleLeaf(absl::string_view record);
Digest MerkleNode(const Digest& left, const Digest& right);

// Where the hashes of nodes are kept; asked for whole nodes of the list alone. Its errors come back from whoever asked.
using MerkleNodes = absl::FunctionRef<absl::StatusOr<Digest>(int level, uint64_t index)>;

// What is enough to append to a list and to know its head: one hash for each bit that is set in its size. Not thread-safe.
class MerkleFrontier {
 public:
  // Of no records.
  MerkleFrontier() = default;
  // Of a list whose nodes are kept. Errors of `nodes`.
  static absl::StatusOr<MerkleFrontier> Of(uint64_t size, MerkleNodes nodes);

  uint64_t size() const { return size_; }
  // The head of the list; of no records it is SHA-256 of nothing.
  Digest Root() const;
  // Appends one record by its leaf. `completed` gets every node that is whole with it, from the leaf up.
  void Append(const Digest& leaf, absl::FunctionRef<void(int level, uint64_t index, const Digest& hash)> completed);
  void Append(const Digest& leaf) {
    Append(leaf, [](int, uint64_t, const Digest&) {});
  }

 private:
  uint64_t size_ = 0;
  std::vector<Digest> nodes_;  // of ever fewer records
};

// The head that a list had at an earlier, or has at its present, size.
absl::StatusOr<Digest> MerkleRoot(uint64_t size, MerkleNodes nodes);

// At most 64 hashes each. OutOfRange: `index` is not below `size`, or `from` above `to`; else errors of `nodes`.
absl::StatusOr<std::vector<Digest>> InclusionProof(uint64_t index, uint64_t size, MerkleNodes nodes);
// Empty where `from` is 0 or `to`.
absl::StatusOr<std::vector<Digest>> ConsistencyProof(uint64_t from, uint64_t to, MerkleNodes nodes);

// That the list of `size` records with this head has the record of that leaf at `index`. InvalidArgument: the proof does not show it.
absl::Status VerifyInclusion(const Digest& leaf, uint64_t index, uint64_t size, absl::Span<const Digest> proof, const Digest& root);
// That the list of `to` records begins with the one of `from`. InvalidArgument likewise.
absl::Status VerifyConsistency(uint64_t from, const Digest& from_root, uint64_t to, const Digest& to_root, absl::Span<const Digest> proof);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_MERKLE_TREE_H_
