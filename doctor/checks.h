// What `doctor` checks, one function a subject. Each appends its findings; none changes anything but a probe file in a folder.
#ifndef TRIBUTARY_DOCTOR_CHECKS_H_
#define TRIBUTARY_DOCTOR_CHECKS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/memory_limits.h"
#include "common/tls.h"
#include "doctor/finding.h"
#include "tributary/v1/config.pb.h"

namespace tributary::doctor {

// More than this is not network delay; certificates and records would suffer.
inline constexpr absl::Duration kClockWarning = absl::Seconds(5);
inline constexpr absl::Duration kClockFailure = absl::Minutes(5);

// What the files hold; without meaning if they fail a check.
CertificatePair CheckCertificates(const TlsFiles& files, const Identity& expected, absl::Time now, Findings* findings);
// Without TLS, towards or at `address`; `anywhere`: also where that is not this machine.
enum class InsecureWhere { kThisMachine, kAnywhere };
void CheckInsecure(const std::string& address, InsecureWhere where, Findings* findings);
// The time here, for a person to compare. A zone that cannot be loaded is a warning: what needs it fails on its own.
void CheckClock(const absl::StatusOr<absl::TimeZone>& zone, absl::Time now, Findings* findings);
// The coordinator read `theirs` between `before` and `after` of our clock.
void CompareClocks(absl::Time before, absl::Time theirs, absl::Time after, Findings* findings);
// `needed`: below it the check fails; below ten times it warns.
void CheckFolder(const std::string& name, const std::string& path, uint64_t needed, Findings* findings);
// As CheckFolder. Where nobody knows what there is, nothing is said.
void CheckMemory(const absl::StatusOr<MemoryLimits>& limits, uint64_t needed, Findings* findings);
// That `address`, the value of `key`, can be listened on.
void CheckListening(const std::string& key, const std::string& address, Findings* findings);

void CheckData(const std::string& path, Findings* findings);
void CheckConsent(const v1::ConsentConfig& consent, Findings* findings);
// What leaves the site.
void CheckSent(const v1::WorkerConfig& config, Findings* findings);
// What the site allows its worker of the line and the day; none if it allows everything. Fails if `zone`, this machine's, is needed and an
// error.
void CheckLimits(const v1::WorkerConfig& config, const absl::StatusOr<absl::TimeZone>& zone, absl::Time now, Findings* findings);

}  // namespace tributary::doctor

#endif  // TRIBUTARY_DOCTOR_CHECKS_H_
