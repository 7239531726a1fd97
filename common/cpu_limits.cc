#include "common/cpu_limits.h"

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/control_group.h"
#include "common/files.h"

namespace tributary {
namespace {

constexpr uint64_t kLongestFile = 4096;

struct Quota {
  uint64_t quota = 0;  // of CPU time in each period, both in microseconds
  uint64_t period = 0;
};

// v2: "200000 100000", or "max 100000".
std::optional<Quota> UnifiedQuota(const std::string& folder) {
  const std::string text = ReadFile(absl::StrCat(folder, "/cpu.max"), kLongestFile).value_or("");
  const std::vector<absl::string_view> words = absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  Quota quota;
  if (words.size() != 2 || !absl::SimpleAtoi(words[0], &quota.quota) || !absl::SimpleAtoi(words[1], &quota.period)) {
    return std::nullopt;
  }
  return quota;
}

// v1: a quota of -1 is none.
std::optional<Quota> OldQuota(const std::string& folder) {
  const auto quota = ReadControlGroupNumber(absl::StrCat(folder, "/cpu.cfs_quota_us"));
  const auto period = ReadControlGroupNumber(absl::StrCat(folder, "/cpu.cfs_period_us"));
  return quota.has_value() && period.has_value() ? std::make_optional(Quota{*quota, *period}) : std::nullopt;
}

int CoresAllowed() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // Fails on machines of more than 1,024 cores.
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

int UsableCores(const std::string& root) {
  auto cores = static_cast<uint64_t>(std::max(1, CoresAllowed()));
  const ControlGroups groups = ControlGroupsOf("cpu", root);
  for (const std::string& folder : groups.folders) {
    const std::optional<Quota> quota = groups.version == 2 ? UnifiedQuota(folder) : OldQuota(folder);
    if (quota.has_value() && quota->period > 0) {
      cores = std::min(cores, std::max<uint64_t>(1, (quota->quota + quota->period - 1) / quota->period));
    }
  }
  return static_cast<int>(cores);
}

}  // namespace tributary
