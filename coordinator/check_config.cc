#include "coordinator/check_config.h"

#include "common/status_macros.h"
#include "coordinator/run/log_keeping.h"
#include "proto/durations.h"

namespace tributary::coordinator {

absl::Status CheckConfig(const v1::CoordinatorConfig& config) {
  if (DurationOf(config.lease()) <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("lease: must be more than 0s");
  }
  if (config.snapshots().every() == 0 || config.snapshots().keep() == 0) {
    return absl::InvalidArgumentError("snapshots: every and keep must be at least 1");
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckLogConfig(config.log()));
  if (config.max_update() == 0) {
    return absl::InvalidArgumentError("max_update: must be at least 1 byte");
  }
  if (config.data_dir().empty()) {
    return absl::InvalidArgumentError("data_dir: must be set");
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
