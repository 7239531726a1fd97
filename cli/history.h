// `tributary run history`: what each round came to.
#ifndef TRIBUTARY_CLI_HISTORY_H_
#define TRIBUTARY_CLI_HISTORY_H_

#include <string>

#include "absl/status/status.h"
#include "cli/commands.h"
#include "tributary/v1/admin.pb.h"

namespace tributary::cli {

enum class HistoryEnd {
  kNow,       // the rounds committed so far
  kEndOfRun,  // and those to come: each when the one after it is committed, for only then its validation loss is known
};

// Prints in the session's format. Of a history that is followed JSON is a RoundRecord a line, for programs that feed a tracker. Errors of
// Client; of kEndOfRun also those of `run watch`.
absl::Status ShowHistory(const Session& session, const std::string& run, HistoryEnd end);

// How a command that waited for the run's end ends: OK if it finished, else Aborted, exit code kRunFailed.
absl::Status EndOf(const v1::RunStatus& status);

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_HISTORY_H_
