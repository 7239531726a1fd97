// The control groups that this process is in: the kernel's bounds on what a container or a service may use (cgroups(7), v1 and v2).
#ifndef TRIBUTARY_COMMON_CONTROL_GROUP_H_
#define TRIBUTARY_COMMON_CONTROL_GROUP_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tributary {

// Those of one controller. A bound of any of them binds.
struct ControlGroups {
  int version = 2;
  // The process's own group first, then the groups around it, as far as they can be seen from here. Empty: none.
  std::vector<std::string> folders;
};

// `controller`: "memory" or "cpu". `root`, for tests: the folder that stands for /.
ControlGroups ControlGroupsOf(absl::string_view controller, const std::string& root = "");

// The number in a file of a control group; absent: there is no such file, or it says "max" or nothing.
std::optional<uint64_t> ReadControlGroupNumber(const std::string& file);
// The number after `key` in a file of lines "KEY NUMBER".
std::optional<uint64_t> ReadControlGroupNumber(const std::string& file, absl::string_view key);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CONTROL_GROUP_H_
