// The coordinator's first words on a session.
#ifndef TRIBUTARY_COORDINATOR_WELCOME_H_
#define TRIBUTARY_COORDINATOR_WELCOME_H_

#include <cstdint>

#include "tributary/v1/config.pb.h"
#include "tributary/v1/session.pb.h"

namespace tributary::coordinator {

// `version`: of the protocol, that both sides speak; `unix_ms`: what this side's clock shows.
v1::CoordinatorMessage WelcomeMessage(const v1::CoordinatorConfig& config, uint32_t version, int64_t unix_ms);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_WELCOME_H_
