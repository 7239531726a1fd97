// The parameters that the dense modes send: those of every block that is not frozen, in order, cut into pieces. Internal.
#ifndef TRIBUTARY_OPTIM_LIVE_PIECES_H_
#define TRIBUTARY_OPTIM_LIVE_PIECES_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "optim/layout.h"

namespace tributary::optim {

// Consecutive live parameters: theta[theta, theta + size), and as many from `live` on among all that are live.
struct LivePiece {
  int64_t theta = 0;
  int64_t live = 0;
  int64_t size = 0;
};

// All live parameters in order, in pieces of at most `longest`; a piece also ends where a frozen block that is not empty begins.
std::vector<LivePiece> CutLive(const Layout& layout, int64_t longest);

// How many parameters are live.
int64_t LiveSize(absl::Span<const LivePiece> pieces);

// The block that holds theta[place], for messages.
absl::string_view BlockAt(const Layout& layout, int64_t place);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_LIVE_PIECES_H_
