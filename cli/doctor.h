// What `tributary doctor` checks as an operator, besides what every `doctor` checks (doctor/checks.h).
#ifndef TRIBUTARY_CLI_DOCTOR_H_
#define TRIBUTARY_CLI_DOCTOR_H_

#include <optional>
#include <string>

#include "cli/client.h"
#include "common/clock.h"
#include "doctor/finding.h"

namespace tributary::cli {

// What the coordinator says of itself (only operators may ask); empty if it cannot be asked.
std::optional<v1::ServerInfo> CheckServer(Client* client, const std::string& address, const Clock& clock, doctor::Findings* findings);
// The run that is open, or the newest, and how it is optimised.
void CheckRun(Client* client, doctor::Findings* findings);

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_DOCTOR_H_
