// What a coordinator's configuration must hold for the coordinator itself.
#ifndef TRIBUTARY_COORDINATOR_CHECK_CONFIG_H_
#define TRIBUTARY_COORDINATOR_CHECK_CONFIG_H_

#include "absl/status/status.h"
#include "tributary/v1/config.pb.h"

namespace tributary::coordinator {

// InvalidArgument: the key, and what it must be.
absl::Status CheckConfig(const v1::CoordinatorConfig& config);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_CHECK_CONFIG_H_
