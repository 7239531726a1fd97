#include "common/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace tributary {

bool IsName(absl::string_view name) {
  const auto is_inner = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; };
  return !name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), is_inner) && name.front() != '-' && name.back() != '-';
}

}  // namespace tributary
