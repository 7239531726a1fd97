#include "coordinator/run/extended_run.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "coordinator/run/best_round.h"
#include "coordinator/run/run_status.h"
#include "proto/config/run_options.h"
#include "proto/run_state.h"

namespace tributary::coordinator {

absl::StatusOr<std::optional<uint64_t>> EnoughAt(Journal& journal, const JournaledRun& run, uint64_t committed) {
  TRIBUTARY_ASSIGN_OR_RETURN(const JournaledEvaluations evaluations, journal.Evaluations(run.run_id));
  return EarlyEnd(run.spec, evaluations, committed).has_value() ? std::make_optional(committed) : std::nullopt;
}

absl::StatusOr<JournaledRun> Extended(const JournaledRun& run, uint64_t rounds, std::optional<uint64_t> enough_at, const OperatorAct& act) {
  if (run.state == v1::DRAINING || (IsOver(run.state) && run.state != v1::FINISHED)) {
    return absl::FailedPreconditionError(
        absl::StrCat("run ", run.run_id, " is ", StateName(run.state), " and cannot be extended (", run.reason,
                     "); to train its model further, export it and submit a run that starts from that file (model.initial_weights)"));
  }
  const bool has_rounds_left = enough_at.has_value() && *enough_at < run.spec.rounds();
  if (has_rounds_left ? rounds < run.spec.rounds() : rounds <= run.spec.rounds()) {
    return absl::InvalidArgumentError(absl::StrCat("run ", run.run_id, " has ", run.spec.rounds(), " rounds; to extend it, name ",
                                                   has_rounds_left ? "at least" : "more than", " that: how many it is to have in all"));
  }
  JournaledRun extended = run;
  v1::ScheduleSpec& schedule = *extended.spec.mutable_optimizer()->mutable_learning_rate();
  if (schedule.rounds() == 0) {
    schedule.set_rounds(run.spec.rounds());
  }
  extended.spec.set_rounds(rounds);
  if (enough_at.has_value()) {
    extended.spec.mutable_stop_when()->set_after(*enough_at);
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
