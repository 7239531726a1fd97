// What `tributary doctor` checks, one function a subject. Each appends its findings; none changes anything but a probe file in a folder.
#ifndef TRIBUTARY_CLI_DOCTOR_H_
#define TRIBUTARY_CLI_DOCTOR_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/client.h"
#include "common/exit_codes.h"
#include "common/proxy.h"
#include "common/tls.h"
#include "tributary/v1/config.pb.h"

namespace tributary::cli {

struct Finding {
  enum class Result { kOk, kWarn, kFail };
  std::string check;
  Result result = Result::kOk;
  std::string detail;  // what was found and, unless kOk, what to do
  ExitCode code = ExitCode::kOk;
};
using Findings = std::vector<Finding>;

// The exit code of the first failure; kOk if there is none.
ExitCode Outcome(const Findings& findings);

// What the files hold; without meaning if they fail a check.
CertificatePair CheckCertificates(const TlsFiles& files, const Identity& expected, absl::Time now, Findings* findings);
// `needed`: below it the check fails; below ten times it warns.
void CheckFolder(const std::string& name, const std::string& path, uint64_t needed, Findings* findings);
void CheckData(const std::string& path, Findings* findings);
void CheckInsecure(const std::string& address, const ConnectionFlags& flags, Findings* findings);
// What the coordinator says of itself (only operators may ask); empty if it cannot be asked.
std::optional<v1::ServerInfo> CheckServer(Client* client, const std::string& address, const Clock& clock, Findings* findings);
// The run that is open, or the newest, and how it is optimised.
void CheckRun(Client* client, Findings* findings);
// What the site allows its worker of the line and the day; none if it allows everything. Fails if `zone`, this machine's, is needed and an
// error.
void CheckLimits(const v1::WorkerConfig& config, const absl::StatusOr<absl::TimeZone>& zone, absl::Time now, Findings* findings);
// How the coordinator at `address` is reached: straight, or through which proxy.
void CheckPath(const std::string& address, const Route& route, Findings* findings);
// For sites: the coordinator is reached and lets the caller in.
void CheckReachable(Client* client, const std::string& address, Findings* findings);

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_DOCTOR_H_
