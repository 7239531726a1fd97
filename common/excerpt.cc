#include "common/excerpt.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace tributary {

std::string Excerpt(absl::string_view text) {
  constexpr size_t kMaxBytes = 500;
  size_t end = std::min(text.size(), kMaxBytes);
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) {
    --end;
  }
  std::string line(text.substr(0, end));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); }, ' ');
  return line;
}

}  // namespace tributary
