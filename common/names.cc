#include "common/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tributary {
namespace {

// Levenshtein distance, in which two neighbours that change places are one step.
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::vector<size_t>> rows(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      size_t& distance = rows[i][j];
      distance = i + j;
      if (i > 0) {
        distance = std::min(distance, rows[i - 1][j] + 1);
      }
      if (j > 0) {
        distance = std::min(distance, rows[i][j - 1] + 1);
      }
      if (i > 0 && j > 0) {
        distance = std::min(distance, rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1));
      }
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        distance = std::min(distance, rows[i - 2][j - 2] + 1);
      }
    }
  }
  return rows[a.size()][b.size()];
}

}  // namespace

bool IsName(absl::string_view name) {
  const auto is_inner = [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; };
  return !name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), is_inner) && name.front() != '-' && name.back() != '-';
}

absl::Status CheckHostPort(absl::string_view address, int least_port) {
  const size_t colon = address.rfind(':');
  int port = -1;
  // The colons inside an IPv6 address are in brackets.
  if (colon != absl::string_view::npos && address.find(']', colon) == absl::string_view::npos &&
      absl::SimpleAtoi(address.substr(colon + 1), &port) && port >= least_port && port <= 65535) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("'", address, "' has no port; write HOST:PORT"));
}

std::string DidYouMean(absl::string_view word, const std::vector<std::string>& known) {
  const auto nearest = std::min_element(known.begin(), known.end(),
                                        [&](const auto& a, const auto& b) { return EditDistance(word, a) < EditDistance(word, b); });
  if (nearest != known.end() && EditDistance(word, *nearest) <= std::max<size_t>(1, nearest->size() / 3)) {
    return absl::StrCat("; did you mean '", *nearest, "'?");
  }
  return absl::StrCat("; expected one of: ", absl::StrJoin(known, ", "));
}

}  // namespace tributary
