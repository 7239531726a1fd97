#include "common/control_group.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/files.h"

namespace tributary {
namespace {

constexpr uint64_t kLongestFile = 1 << 20;

std::string TextOf(const std::string& path) {
  return ReadFile(path, kLongestFile).value_or("");
}

std::vector<std::string> LinesOf(const std::string& path) {
  return absl::StrSplit(TextOf(path), '\n', absl::SkipEmpty());
}

// Where a hierarchy is mounted, and which of its groups is seen there.
struct Mount {
  std::string root;
  std::string point;
};

// proc(5): "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS ... - TYPE SOURCE SUPER_OPTIONS".
std::optional<Mount> FindMount(absl::string_view type, absl::string_view controller, const std::string& root) {
  for (const std::string& line : LinesOf(absl::StrCat(root, "/proc/self/mountinfo"))) {
    const std::pair<std::string, std::string> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    const std::vector<std::string> mount = absl::StrSplit(halves.first, ' ');
    const std::vector<std::string> system = absl::StrSplit(halves.second, ' ');
    if (mount.size() < 5 || system.size() < 3 || system[0] != type) {
      continue;
    }
    const std::vector<absl::string_view> options = absl::StrSplit(system[2], ',');
    if (controller.empty() || absl::c_linear_search(options, controller)) {
      return Mount{mount[3], mount[4]};
    }
  }
  return std::nullopt;
}

std::vector<std::string> FoldersFrom(const Mount& mount, absl::string_view group, const std::string& root) {
  // A container often sees its own group as the root of the mount, under whatever name it has outside.
  if (mount.root != "/" && (!absl::ConsumePrefix(&group, mount.root) || (!group.empty() && group.front() != '/'))) {
    group = "";
  }
  if (absl::StrContains(group, "..")) {
    group = "";
  }
  std::vector<std::string> folders;
  while (group.size() > 1) {
    folders.push_back(absl::StrCat(root, mount.point, group));
    group = group.substr(0, group.rfind('/'));
  }
  folders.push_back(absl::StrCat(root, mount.point));
  return folders;
}

}  // namespace

ControlGroups ControlGroupsOf(absl::string_view controller, const std::string& root) {
  ControlGroups found;
  // "NUMBER:CONTROLLERS:GROUP"; of v2, "0::GROUP".
  std::optional<std::string> unified;
  for (const std::string& line : LinesOf(absl::StrCat(root, "/proc/self/cgroup"))) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) {
      continue;
    }
    const std::vector<absl::string_view> controllers = absl::StrSplit(parts[1], ',');
    if (parts[1].empty()) {
      unified = parts[2];
    } else if (absl::c_linear_search(controllers, controller)) {
      if (const std::optional<Mount> mount = FindMount("cgroup", controller, root); mount.has_value()) {
        return {1, FoldersFrom(*mount, parts[2], root)};
      }
    }
  }
  if (unified.has_value()) {
    if (const std::optional<Mount> mount = FindMount("cgroup2", "", root); mount.has_value()) {
      found.folders = FoldersFrom(*mount, *unified, root);
    }
  }
  return found;
}

std::optional<uint64_t> ReadControlGroupNumber(const std::string& file) {
  uint64_t number = 0;
  return absl::SimpleAtoi(TextOf(file), &number) ? std::make_optional(number) : std::nullopt;
}

std::optional<uint64_t> ReadControlGroupNumber(const std::string& file, absl::string_view key) {
  for (const std::string& line : LinesOf(file)) {
    absl::string_view rest = line;
    uint64_t number = 0;
    if (absl::ConsumePrefix(&rest, key) && absl::ConsumePrefix(&rest, " ") && absl::SimpleAtoi(rest, &number)) {
      return number;
    }
  }
  return std::nullopt;
}

}  // namespace tributary
