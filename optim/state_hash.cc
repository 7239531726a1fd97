// The hash of a replica's state: a tree, so that leaves can be hashed by several threads.
// Format: docs/wire_format.md, "State hash".
#include <algorithm>

#include "common/checksum.h"
#include "optim/bytes.h"
#include "optim/parallel.h"
#include "optim/replica.h"

namespace tributary::optim {
namespace {

// 1 MiB.
constexpr int64_t kPieceElements = int64_t{1} << 18;

// The first byte of what is hashed tells the levels of the tree apart.
constexpr absl::string_view kLeaf("\x00", 1);
constexpr absl::string_view kBlock("\x01", 1);
constexpr absl::string_view kRoot("\x02", 1);

struct Piece {
  absl::Span<const float> values;
  Digest digest{};
};

}  // namespace

Digest StateHash(const Layout& layout, const ReplicaState& state, int threads) {
  std::vector<const std::vector<float>*> vectors = {&state.theta};
  for (const std::vector<float>& slot : state.slots) vectors.push_back(&slot);

  std::vector<Piece> pieces;
  for (const std::vector<float>* vector : vectors) {
    for (const Block& block : layout.blocks()) {
      for (int64_t begin = 0; begin < block.size; begin += kPieceElements) {
        const int64_t length = std::min(kPieceElements, block.size - begin);
        pieces.push_back({absl::MakeConstSpan(*vector).subspan(block.offset + begin, length)});
      }
    }
  }
  ParallelFor(threads, static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    Sha256Hasher hasher;
    hasher.Update(kLeaf);
    hasher.Update(AsBytes(pieces[i].values));
    pieces[i].digest = hasher.Finish();
  });

  Sha256Hasher root;
  root.Update(kRoot);
  root.Update(AsBytes(layout.hash()));
  std::string header;
  AppendLittleEndian<uint64_t>(state.round, header);
  AppendLittleEndian<uint64_t>(state.slots.size(), header);
  root.Update(header);
  size_t next = 0;
  for (size_t vector = 0; vector < vectors.size(); ++vector) {
    for (const Block& block : layout.blocks()) {
      Sha256Hasher hasher;
      hasher.Update(kBlock);
      for (int64_t begin = 0; begin < block.size; begin += kPieceElements) hasher.Update(AsBytes(pieces[next++].digest));
      root.Update(AsBytes(hasher.Finish()));
    }
  }
  return root.Finish();
}

}  // namespace tributary::optim
