#include "coordinator/welcome.h"

#include <string>

#include "absl/time/time.h"
#include "proto/config/capabilities.h"
#include "proto/durations.h"

namespace tributary::coordinator {

v1::CoordinatorMessage WelcomeMessage(const v1::CoordinatorConfig& config, uint32_t version, int64_t unix_ms) {
  v1::CoordinatorMessage message;
  v1::Welcome& welcome = *message.mutable_welcome();
  welcome.set_software_version(TRIBUTARY_VERSION);
  welcome.set_lease_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(DurationOf(config.lease()))));
  welcome.set_max_inline_bytes(config.max_inline());
  welcome.set_unix_ms(unix_ms);
  welcome.set_protocol_version(version);
  for (const std::string& word : OwnCapabilities()) {
    welcome.add_capabilities(word);
  }
  return message;
}

}  // namespace tributary::coordinator
