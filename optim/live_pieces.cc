#include "optim/live_pieces.h"

#include <algorithm>

namespace tributary::optim {

std::vector<LivePiece> CutLive(const Layout& layout, int64_t longest) {
  std::vector<LivePiece> stretches;
  int64_t live = 0;
  for (const Block& block : layout.blocks()) {
    if (block.frozen || block.size == 0) {
      continue;
    }
    if (!stretches.empty() && stretches.back().theta + stretches.back().size == block.offset) {
      stretches.back().size += block.size;
    } else {
      stretches.push_back({block.offset, live, block.size});
    }
    live += block.size;
  }
  std::vector<LivePiece> pieces;
  for (const LivePiece& stretch : stretches) {
    for (int64_t begin = 0; begin < stretch.size; begin += longest) {
      pieces.push_back({stretch.theta + begin, stretch.live + begin, std::min(longest, stretch.size - begin)});
    }
  }
  return pieces;
}

int64_t LiveSize(absl::Span<const LivePiece> pieces) {
  return pieces.empty() ? 0 : pieces.back().live + pieces.back().size;
}

absl::string_view BlockAt(const Layout& layout, int64_t place) {
  for (const Block& block : layout.blocks()) {
    if (place >= block.offset && place < block.offset + block.size) {
      return block.name;
    }
  }
  return "?";
}

}  // namespace tributary::optim
