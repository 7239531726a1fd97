// Exit codes of all programs, and how an error carries the one it calls for. docs/reference/exit_codes.md says what to do about each.
#ifndef TRIBUTARY_COMMON_EXIT_CODES_H_
#define TRIBUTARY_COMMON_EXIT_CODES_H_

#include "absl/status/status.h"

namespace tributary {

// Frozen: scripts depend on the numbers.
enum class ExitCode : int {
  kOk = 0,
  kInternal = 1,       // a defect of ours, or an error without a better code
  kUsage = 2,          // command line, configuration or run file
  kCredentials = 3,    // certificate missing, of another CA, expired, or not allowed
  kUnreachable = 4,    // the coordinator does not answer
  kData = 5,           // a site's data: empty folder, not UTF-8, a bad row
  kConsent = 6,        // the run is outside what this site agrees to
  kStorage = 7,        // disk full, or a file or folder that cannot be read or written
  kDamaged = 8,        // a journal, snapshot or model file that fails its checks
  kRunFailed = 9,      // the run ended as failed or stopped
  kNotFound = 10,      // no such run, round or site
  kMemory = 11,        // a run does not fit into the memory there is
  kLogRewritten = 12,  // the coordinator's audit log contradicts what a worker holds of it
  kInterrupted = 130,  // SIGINT
  kReaderGone = 141,   // whoever read standard output has gone
};

// `status` marked with the exit code it calls for. OK stays OK.
absl::Status WithExitCode(absl::Status status, ExitCode code);

// The mark, or else what fits the status code (InvalidArgument: kUsage, Unavailable and DeadlineExceeded: kUnreachable, Unauthenticated and
// PermissionDenied: kCredentials, NotFound: kNotFound, DataLoss: kDamaged, ResourceExhausted: kStorage, others: kInternal; OK: kOk).
ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_EXIT_CODES_H_
