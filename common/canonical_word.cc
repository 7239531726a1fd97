#include "common/canonical_word.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace tributary {
namespace {

bool IsFraction(absl::string_view rest) {
  return rest.empty() || ((rest[0] == '.' || rest[0] == ',') && (rest.substr(1) == "0" || rest.substr(1) == "00"));
}

}  // namespace

std::string CanonicalWord(absl::string_view word) {
  absl::string_view digits = word;
  const bool negative = absl::StartsWith(word, "-");
  if (negative || absl::StartsWith(word, "+")) {
    digits.remove_prefix(1);
  }
  const auto end =
      std::find_if_not(digits.begin(), digits.end(), [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); });
  const auto count = static_cast<size_t>(end - digits.begin());
  if (count == 0 || !IsFraction(digits.substr(count))) {
    return std::string(word);
  }
  digits = digits.substr(0, count);
  while (digits.size() > 1 && absl::ConsumePrefix(&digits, "0")) {
  }
  return absl::StrCat(negative && digits != "0" ? "-" : "", digits);
}

}  // namespace tributary
