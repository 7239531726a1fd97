#include "optim/empty_state.h"

#include "absl/strings/str_cat.h"
#include "common/bytes.h"

namespace tributary::optim {

std::string EmptyState(absl::string_view owner, const OptimizerOptions& options, const Layout& layout) {
  return absl::StrCat("tributary ", owner, " 1 ", ModeName(options.mode), "\n", AsBytes(layout.hash()));
}

absl::Status CheckEmptyState(absl::string_view owner, const OptimizerOptions& options, const Layout& layout, absl::string_view state) {
  if (state == EmptyState(owner, options, layout)) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat("saved ", owner, " state: damaged, or of another layout or mode than ", ModeName(options.mode)));
}

}  // namespace tributary::optim
