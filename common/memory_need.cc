#include "common/memory_need.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/format_bytes.h"

namespace tributary {
namespace {

std::string Size(uint64_t bytes) {
  return FormatBytes(static_cast<double>(bytes));
}

}  // namespace

uint64_t MemoryNeed::total() const {
  uint64_t sum = 0;
  for (const Term& term : terms) {
    sum += std::min(term.bytes, std::numeric_limits<uint64_t>::max() - sum);
  }
  return sum;
}

std::string FormatNeed(const MemoryNeed& need) {
  std::vector<MemoryNeed::Term> terms = need.terms;
  std::stable_sort(terms.begin(), terms.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  std::string list;
  for (const MemoryNeed::Term& term : terms) {
    if (term.bytes > 0) {
      absl::StrAppend(&list, list.empty() ? "" : ", ", term.what, " ", Size(term.bytes));
    }
  }
  return absl::StrCat(Size(need.total()), " of memory (", list, ")");
}

absl::Status CheckMemory(absl::string_view needs, const MemoryNeed& need, const MemoryLimits& limits) {
  if (need.total() <= limits.available) {
    return absl::OkStatus();
  }
  return WithExitCode(absl::FailedPreconditionError(absl::StrCat(needs, " ", FormatNeed(need), ", and ", Size(limits.available), " of ",
                                                                 Size(limits.total), " are available (", limits.bound_by,
                                                                 "): give it more memory, or the run a smaller model")),
                      ExitCode::kMemory);
}

}  // namespace tributary
