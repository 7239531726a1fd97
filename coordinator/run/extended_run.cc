#include "coordinator/run/extended_run.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/run/run_status.h"
#include "proto/config/run_options.h"
#include "proto/run_state.h"

namespace tributary::coordinator {

std::optional<uint64_t> EndedEarlyAt(const JournaledRun& run, uint64_t committed) {
  return run.state == v1::FINISHED && committed < run.spec.rounds() ? std::make_optional(committed) : std::nullopt;
}

absl::StatusOr<JournaledRun> Extended(const JournaledRun& run, uint64_t rounds, std::optional<uint64_t> ended_early_at,
                                      const OperatorAct& act) {
  if (run.state == v1::DRAINING || (IsOver(run.state) && run.state != v1::FINISHED)) {
    return absl::FailedPreconditionError(
        absl::StrCat("run ", run.run_id, " is ", StateName(run.state), " and cannot be extended (", run.reason,
                     "); to train its model further, export it and submit a run that starts from that file (model.initial_weights)"));
  }
  if (ended_early_at.has_value() ? rounds < run.spec.rounds() : rounds <= run.spec.rounds()) {
    return absl::InvalidArgumentError(absl::StrCat("run ", run.run_id, " has ", run.spec.rounds(), " rounds; to extend it, name ",
                                                   ended_early_at.has_value() ? "at least" : "more than",
                                                   " that: how many it is to have in all"));
  }
  JournaledRun extended = run;
  v1::ScheduleSpec& schedule = *extended.spec.mutable_optimizer()->mutable_learning_rate();
  if (schedule.rounds() == 0) {
    schedule.set_rounds(run.spec.rounds());
  }
  extended.spec.set_rounds(rounds);
  if (ended_early_at.has_value()) {
    extended.spec.mutable_stop_when()->set_after(*ended_early_at);
  }
  TRIBUTARY_RETURN_IF_ERROR(ValidateRunSpec(extended.spec));
  if (run.state == v1::FINISHED) {
    extended.state = v1::SUBMITTED;
    extended.reason = Told(absl::StrCat("extended to ", rounds, " rounds"), act);
    extended.finished_unix_ms = 0;
  }
  return extended;
}

}  // namespace tributary::coordinator
