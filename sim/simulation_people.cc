// What the people of a simulated federation do: submit runs and extend them, resume what was paused, take logs back.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "proto/run_state.h"
#include "sim/recording.h"
#include "sim/simulation.h"

namespace tributary::sim {
namespace {

// A submission that fails like this is worth another: the disk or the coordinator is in trouble, or the run is there already.
bool PassesByItself(const absl::Status& submission) {
  return ExitCodeOf(submission) == ExitCode::kStorage || absl::IsUnavailable(submission) || absl::IsAlreadyExists(submission);
}

}  // namespace

bool Simulation::Interrupted(const WitnessedRun& run) {
  return run.journaled.state == v1::FAILED && absl::StrContains(run.journaled.reason, "its submission was interrupted");
}

bool Simulation::Submitted(const std::string& name) const {
  return std::any_of(witness_.runs().begin(), witness_.runs().end(),
                     [&](const auto& run) { return run.second.journaled.spec.name() == name && !Interrupted(run.second); });
}

void Simulation::Submit() {
  submitted_ = true;
  for (v1::RunSpec spec : scenario_.runs) {
    if (scenario_.submitted_rounds > 0 && spec.name() == scenario_.runs[0].name()) {
      spec.set_rounds(scenario_.submitted_rounds);
      spec.mutable_optimizer()->mutable_learning_rate()->clear_rounds();
    }
    if (!Submitted(spec.name()) && coordinator_.up()) {
      coordinator_.Call([&](coordinator::Coordinator& coordinator) {
        world_.Record("coordinator", [&] { return absl::StrCat("- submits ", RecordedJson(spec)); });
        const absl::StatusOr<v1::RunStatus> run = coordinator.SubmitRun(spec, "anna");
        if (world_.tracing) {
          world_.Trace(-1, absl::StrCat("submit ", spec.name(), ": ", run.status().ToString()));
        }
        if (run.ok() || disk_.dead() || PassesByItself(run.status())) {
          return;
        }
        if (scenario_.make_trainer) {
          error_.Update(run.status());
        } else {
          world_.Violate("a run is taken", absl::StrCat(spec.name(), ": ", run.status().ToString()));
        }
      });
    }
    submitted_ = submitted_ && Submitted(spec.name());
  }
  submitted_ = Extend() && submitted_;
  // Looked at again: a submission may yet prove to have been interrupted.
  world_.After(absl::Seconds(1), "submit", -1, [this] { Submit(); });
}

// True: there is nothing to extend, or not any more.
bool Simulation::Extend() {
  const v1::RunSpec& spec = scenario_.runs[0];
  for (const auto& [run_id, run] : witness_.runs()) {
    const bool ended = run.journaled.state == v1::FAILED || run.journaled.state == v1::STOPPED || run.journaled.state == v1::DRAINING;
    if (run.journaled.spec.name() != spec.name() || run.journaled.spec.rounds() == spec.rounds() || ended) {
      continue;
    }
    if (world_.Elapsed() >= scenario_.extended_after && coordinator_.up() && !disk_.dead()) {
      world_.CountFault("runs extended");
      coordinator_.Call([&, run_id = run_id](coordinator::Coordinator& coordinator) {
        coordinator.ExtendRun(run_id, spec.rounds(), {"anna", ""}).IgnoreError();  // looked at again
      });
    }
    return false;
  }
  return true;
}

// People stop the coordinator, take the log of a run back, also of one that is over, and start the coordinator again.
void Simulation::TakeLogBack(absl::Duration pause) {
  std::vector<std::pair<std::string, uint64_t>> candidates;
  for (const auto& [run_id, run] : witness_.runs()) {
    if (!run.broken && run.round() > 0) {
      candidates.emplace_back(run_id, run.round());
    }
  }
  if (candidates.empty() || !coordinator_.up() || disk_.dead()) {
    return;
  }
  const auto& [run_id, last] = candidates[world_.random.Below(candidates.size())];
  const uint64_t round = world_.random.Below(last + 1);
  // A run that is over and stays at its last round has nothing to take back, and the tool says so. The coordinator knows best: the end may
  // be durable although nobody was told.
  const absl::StatusOr<v1::RunStatus> status = coordinator_.get()->GetRun(run_id);
  if (round == last && status.ok() && IsOver(status->state())) {
    return;
  }
  world_.CountFault("logs taken back");
  if (world_.tracing) {
    world_.Trace(-1, absl::StrCat("FAULT ", run_id, " is taken back from round ", last, " to ", round));
  }
  coordinator_.Kill(world_.random.Chance(0.5) ? SimDisk::Loss::kUnsynced : SimDisk::Loss::kNothing, pause);
  const absl::StatusOr<coordinator::Truncation> done = take_back(disk_, run_id, round);
  if (absl::IsNotFound(done.status())) {
    return;  // pruned, and they are told so
  }
  if (!done.ok()) {
    return world_.Violate("a log can be taken back", absl::StrCat(run_id, " to round ", round, ": ", done.status().ToString()));
  }
  witness_.OnTakenBack(run_id, round, done->residual_known);
}

// An operator who does not give up before the run goes on.
void Simulation::Resume(const std::string& run_id) {
  if (coordinator_.up() && !disk_.dead()) {
    absl::Status resumed;
    coordinator_.Call([&](coordinator::Coordinator& coordinator) { resumed = coordinator.ResumeRun(run_id, {"anna", ""}).status(); });
    if (resumed.ok() || absl::IsFailedPrecondition(resumed)) {
      return;
    }
  }
  world_.After(absl::Seconds(1), "resume", -1, [this, run_id] { Resume(run_id); });
}

}  // namespace tributary::sim
