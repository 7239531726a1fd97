#include "coordinator/queue_bound.h"

#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "proto/run_state.h"

namespace tributary::coordinator {
namespace {

absl::Status Full(const std::string& whose, size_t runs) {
  return WithExitCode(absl::ResourceExhaustedError(absl::StrCat(whose, runs,
                                                                " runs that are not over, which is the most there may be; wait until one "
                                                                "is, or stop one (`tributary run list`, `tributary run stop`)")),
                      ExitCode::kUsage);
}

}  // namespace

absl::Status CheckQueue(Journal& journal, const std::string& operator_name) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::vector<JournaledRun> runs, journal.Runs());
  std::erase_if(runs, [](const JournaledRun& run) { return IsOver(run.state); });
  if (runs.size() >= kMaxRuns) {
    return Full("this coordinator has ", runs.size());
  }
  if (runs.size() < kMaxRunsOfOperator) {
    return absl::OkStatus();
  }
  size_t own = 0;
  for (const JournaledRun& run : runs) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<JournaledEvent> events, journal.Events(run.run_id));
    own += absl::c_any_of(
        events, [&operator_name](const JournaledEvent& event) { return event.kind == "submitted" && event.actor == operator_name; });
  }
  return own < kMaxRunsOfOperator ? absl::OkStatus() : Full(absl::StrCat("operator ", operator_name, " has "), own);
}

}  // namespace tributary::coordinator
