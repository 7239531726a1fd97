#include "common/rare_line.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tributary {

std::optional<std::string> RareLine::Tell(absl::string_view text, absl::Time now) {
  if (now - since_ >= kInterval) {
    since_ = now;
    lines_ = 0;
    told_.clear();
  }
  if (lines_ == most_ || std::find(told_.begin(), told_.end(), text) != told_.end()) {
    ++left_out_;
    return std::nullopt;
  }
  ++lines_;
  told_.emplace_back(text);
  const uint64_t left_out = std::exchange(left_out_, 0);
  return left_out == 0 ? "" : absl::StrCat(" (", left_out, left_out == 1 ? " line" : " lines", " like it left out)");
}

}  // namespace tributary
