#include "common/memory_limits.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/control_group.h"
#include "common/files.h"

namespace tributary {
namespace {

constexpr uint64_t kLongestFile = 1 << 20;

// One who says how much there is.
struct Bound {
  uint64_t total = 0;
  uint64_t used = 0;
  std::string name;
  uint64_t left() const { return total - std::min(total, used); }
};

// "MemTotal:       16301140 kB".
std::optional<uint64_t> MachineFigure(const std::string& text, absl::string_view key) {
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint64_t kibibytes = 0;
    if (words.size() >= 2 && words[0] == key && absl::SimpleAtoi(words[1], &kibibytes)) {
      return kibibytes << 10;
    }
  }
  return std::nullopt;
}

void AddControlGroups(const std::string& root, std::vector<Bound>& bounds) {
  const ControlGroups groups = ControlGroupsOf("memory", root);
  const bool unified = groups.version == 2;
  for (const std::string& folder : groups.folders) {
    const auto limit = ReadControlGroupNumber(absl::StrCat(folder, unified ? "/memory.max" : "/memory.limit_in_bytes"));
    const auto used = ReadControlGroupNumber(absl::StrCat(folder, unified ? "/memory.current" : "/memory.usage_in_bytes"));
    if (!limit.has_value() || !used.has_value()) {
      continue;
    }
    const auto cache = ReadControlGroupNumber(absl::StrCat(folder, "/memory.stat"), unified ? "inactive_file" : "total_inactive_file");
    bounds.push_back({*limit, *used - std::min(*used, cache.value_or(0)), absl::StrCat("control group ", folder.substr(root.size()))});
  }
}

void AddAddressSpace(const std::string& root, std::vector<Bound>& bounds) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return;
  }
  const std::string text = ReadFile(absl::StrCat(root, "/proc/self/statm"), kLongestFile).value_or("");
  uint64_t pages = 0;
  if (absl::SimpleAtoi(text.substr(0, text.find(' ')), &pages)) {
    bounds.push_back({limit.rlim_cur, pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)), "ulimit -v"});
  }
}

}  // namespace

absl::StatusOr<MemoryLimits> ReadMemoryLimits(const std::string& root) {
  const std::string text = ReadFile(absl::StrCat(root, "/proc/meminfo"), kLongestFile).value_or("");
  const std::optional<uint64_t> total = MachineFigure(text, "MemTotal:");
  const std::optional<uint64_t> available = MachineFigure(text, "MemAvailable:");
  if (!total.has_value() || !available.has_value()) {
    return absl::UnavailableError(absl::StrCat("how much memory there is cannot be read from ", root, "/proc/meminfo"));
  }
  std::vector<Bound> bounds = {{*total, *total - std::min(*total, *available), "this machine"}};
  AddControlGroups(root, bounds);
  AddAddressSpace(root, bounds);
  const auto tightest = [&](auto figure) {
    return *std::min_element(bounds.begin(), bounds.end(), [&](const Bound& a, const Bound& b) { return figure(a) < figure(b); });
  };
  const Bound least = tightest([](const Bound& bound) { return bound.left(); });
  return MemoryLimits{tightest([](const Bound& bound) { return bound.total; }).total, least.left(), least.name};
}

}  // namespace tributary
