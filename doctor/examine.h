// All checks of a site, and of the coordinator's machine, by their configuration files: `doctor` of every program.
#ifndef TRIBUTARY_DOCTOR_EXAMINE_H_
#define TRIBUTARY_DOCTOR_EXAMINE_H_

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/memory_limits.h"
#include "common/proxy.h"
#include "doctor/finding.h"
#include "doctor/reach.h"

namespace tributary::doctor {

// Where the checks are made.
struct Surroundings {
  const Clock* clock = nullptr;
  std::optional<std::string> time_zone;  // value of TZ; absent: unset
  ProxyEnvironment proxies;
  OnInterrupt on_interrupt;  // empty: an interruption ends the program
  bool insecure = false;
  bool insecure_anywhere = false;
  std::function<absl::StatusOr<MemoryLimits>()> memory = [] { return ReadMemoryLimits(); };
};

// Of worker.yaml. The coordinator is called, which a worker that runs does not notice.
Findings ExamineSite(const Surroundings& surroundings, const std::string& file);
// Of coordinator.yaml, on the coordinator's machine.
Findings ExamineCoordinator(const Surroundings& surroundings, const std::string& file);

}  // namespace tributary::doctor

#endif  // TRIBUTARY_DOCTOR_EXAMINE_H_
