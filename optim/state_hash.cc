// A tree, so that leaves can be hashed by several threads.
#include "optim/state_hash.h"

#include <algorithm>

#include "common/bytes.h"
#include "common/checksum.h"
#include "optim/parallel.h"

namespace tributary::optim {
namespace {

// 1 MiB.
constexpr int64_t kPieceElements = int64_t{1} << 18;

// The first byte of what is hashed tells the levels of the tree apart.
constexpr absl::string_view kLeaf("\x00", 1);
constexpr absl::string_view kBlock("\x01", 1);
constexpr absl::string_view kRoot("\x02", 1);

struct Piece {
  size_t block;  // in BlockHashes
  absl::Span<const float> values;
  Digest digest{};
};

enum class Blocks { kAll, kMovable };

// All pieces of the blocks of `values`, the vector whose first block has number `first` among all; of frozen ones only if asked for.
void AppendPieces(const Layout& layout, absl::Span<const float> values, size_t first, Blocks which, std::vector<Piece>& pieces) {
  for (size_t b = 0; b < layout.blocks().size(); ++b) {
    const Block& block = layout.blocks()[b];
    if (block.frozen && which == Blocks::kMovable) {
      continue;
    }
    for (int64_t begin = 0; begin < block.size; begin += kPieceElements) {
      pieces.push_back({first + b, values.subspan(block.offset + begin, std::min(kPieceElements, block.size - begin))});
    }
  }
}

// SHA-256(kBlock || digests of the block's pieces), `next` being the first that may be its, and then the first that is not.
Digest NodeOf(size_t block, absl::Span<const Piece> pieces, size_t& next) {
  Sha256Hasher hasher;
  hasher.Update(kBlock);
  for (; next < pieces.size() && pieces[next].block == block; ++next) {
    hasher.Update(AsBytes(pieces[next].digest));
  }
  return hasher.Finish();
}

}  // namespace

Digest StateHash(const Layout& layout, const ReplicaState& state, int threads) {
  BlockHashes none;
  return StateHash(layout, state, threads, none);
}

Digest StateHash(const Layout& layout, const ReplicaState& state, int threads, BlockHashes& held) {
  const size_t blocks = layout.blocks().size();
  const size_t nodes = blocks * (1 + state.slots.size());
  const bool all = held.size() != nodes;
  const Blocks which = all ? Blocks::kAll : Blocks::kMovable;
  held.resize(nodes);

  std::vector<Piece> pieces;
  AppendPieces(layout, state.theta, 0, which, pieces);
  for (size_t slot = 0; slot < state.slots.size(); ++slot) {
    AppendPieces(layout, state.slots[slot], (slot + 1) * blocks, which, pieces);
  }
  ParallelFor(threads, static_cast<int64_t>(pieces.size()), [&](int64_t i) {
    Sha256Hasher hasher;
    hasher.Update(kLeaf);
    hasher.Update(AsBytes(pieces[i].values));
    pieces[i].digest = hasher.Finish();
  });
  size_t next = 0;
  for (size_t node = 0; node < nodes; ++node) {
    if (all || !layout.blocks()[node % blocks].frozen) {
      held[node] = NodeOf(node, pieces, next);
    }
  }

  Sha256Hasher root;
  root.Update(kRoot);
  root.Update(AsBytes(layout.hash()));
  std::string header;
  AppendLittleEndian<uint64_t>(state.round, header);
  AppendLittleEndian<uint64_t>(state.slots.size(), header);
  root.Update(header);
  for (const Digest& node : held) {
    root.Update(AsBytes(node));
  }
  return root.Finish();
}

}  // namespace tributary::optim
