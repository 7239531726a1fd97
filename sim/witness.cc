#include "sim/witness.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/checksum.h"
#include "coordinator/journal/updates_of.h"
#include "coordinator/run/best_round.h"
#include "coordinator/run/run_sites.h"
#include "coordinator/run/timed_steps.h"
#include "optim/commit.h"
#include "proto/durations.h"
#include "sim/watched_journal.h"

namespace tributary::sim {

using coordinator::JournaledCommit;
using coordinator::JournaledRound;
using coordinator::JournaledRun;
using coordinator::JournaledUpdate;

bool WitnessedRun::Included(const std::string& site, uint64_t round) const {
  return round >= 1 && round <= included.size() && std::binary_search(included[round - 1].begin(), included[round - 1].end(), site);
}

bool WitnessedRun::over() const {
  return journaled.state == v1::FINISHED || journaled.state == v1::FAILED || journaled.state == v1::STOPPED;
}

std::unique_ptr<coordinator::Journal> Witness::Watch(std::unique_ptr<coordinator::Journal> journal) {
  return std::make_unique<WatchedJournal>(this, std::move(journal));
}

const WitnessedRun* Witness::Find(const std::string& run_id) const {
  const auto it = runs_.find(run_id);
  return it == runs_.end() ? nullptr : &it->second;
}

bool Witness::AllOver() const {
  return std::all_of(runs_.begin(), runs_.end(), [](const auto& run) { return run.second.over(); });
}

bool Witness::Holds(bool condition, absl::string_view invariant, const std::string& detail) {
  if (!condition) {
    world_->Violate(invariant, detail);
  }
  return condition;
}

void Witness::OnRun(const JournaledRun& run) {
  WitnessedRun& witnessed = runs_[run.run_id];
  witnessed.journaled = run;
  absl::StatusOr<coordinator::RunModel> model = coordinator::RunModel::Of(run.spec);
  if (!Holds(model.ok(), "runs are valid", std::string(model.status().message()))) {
    return;
  }
  witnessed.model = std::make_unique<coordinator::RunModel>(*std::move(model));
  witnessed.aggregator = *optim::MakeAggregator(witnessed.model->options, witnessed.model->layout);
  const SharedBytes weights = *coordinator::OpenInitialWeights(*witnessed.model, initial_weights_dir);
  witnessed.state = *coordinator::MakeInitialState(*witnessed.model, weights.get());
  const Digest initial = optim::StateHash(witnessed.model->layout, witnessed.state);
  witnessed.chain = coordinator::ChainStart(witnessed.model->layout, initial);
  witnessed.hashes.push_back(DigestBytes(initial));
  KeepPast(witnessed);
}

void Witness::KeepPast(WitnessedRun& run) const {
  if (keeps_past) {
    run.past.push_back({run.chain, run.state, run.aggregator->SaveState()});
  }
}

void Witness::CheckBudget(const WitnessedRun& run, const std::string& payload) {
  const uint64_t budget = run.journaled.spec.optimizer().budget() * run.model->options.local_steps;
  Holds(budget == 0 || payload.size() <= budget, "no payload is longer than the budget",
        absl::StrCat(run.journaled.run_id, " after round ", run.round(), ": ", payload.size(), " bytes where ", budget, " are allowed"));
}

void Witness::OnSnapshot(const std::string& run_id) {
  WitnessedRun& run = runs_.at(run_id);
  run.rounds_to_replay = 0;
  run.bytes_to_replay = 0;
  run.time_to_replay = absl::ZeroDuration();
  run.overdue.clear();
}

void Witness::CheckReplay(const std::string& run_id, WitnessedRun& run) {
  const absl::Duration replay = DurationOf(snapshots.replay());
  if (run.rounds_to_replay >= snapshots.every() || run.bytes_to_replay >= snapshots.log() || run.time_to_replay >= replay) {
    run.overdue = absl::StrCat(run_id, " goes on after round ", run.round(), " without a snapshot of the last ", run.rounds_to_replay,
                               " rounds, ", run.bytes_to_replay, " bytes, ", absl::FormatDuration(run.time_to_replay));
  }
}

void Witness::OnTakenBack(const std::string& run_id, uint64_t round, bool residual_known) {
  WitnessedRun& run = runs_.at(run_id);
  if (run.broken) {
    return;
  }
  for (uint64_t r = round + 1; r <= run.round(); ++r) {
    run.states_taken_back.emplace(r, run.hashes[r]);
    for (const std::string& site : run.included[r - 1]) {
      run.updates_taken_back.emplace(r, site);
    }
  }
  run.hashes.resize(round + 1);
  run.included.resize(round);
  run.local_steps.resize(round + 1);
  run.past.resize(round + 1);
  run.chain = run.past.back().chain;
  run.state = run.past.back().state;
  run.aggregator = *optim::MakeAggregator(run.model->options, run.model->layout);
  if (residual_known) {
    Holds(run.aggregator->RestoreState(run.past.back().aggregator).ok(), "chain intact", absl::StrCat(run_id, " at round ", round));
  } else {
    run.past.back().aggregator = run.aggregator->SaveState();
  }
  run.evaluations.erase(run.evaluations.upper_bound(round), run.evaluations.end());
  run.open.reset();
  run.updates.clear();
  // It goes on from a snapshot of that round.
  OnSnapshot(run_id);
  if (run.over()) {
    run.journaled.state = v1::SUBMITTED;
  }
  if (run.journaled.spec.stop_when().after() > round) {
    run.journaled.spec.mutable_stop_when()->set_after(round);
  }
}

void Witness::OnState(const std::string& run_id, v1::RunState state, absl::string_view reason) {
  WitnessedRun& run = runs_.at(run_id);
  Holds(!run.over(), "a run ends once", absl::StrCat(run_id, " went from ", run.journaled.state, " to ", state, ": ", reason));
  Holds(!reason.empty(), "every state has a reason", absl::StrCat(run_id, " is ", v1::RunState_Name(state), " without a reason"));
  if (state == v1::FINISHED) {
    const bool enough = coordinator::EarlyEnd(run.journaled.spec, run.evaluations, run.round()).has_value();
    Holds(run.round() == run.journaled.spec.rounds() || enough, "a finished run has all its rounds",
          absl::StrCat(run_id, " finished with ", run.round(), " of ", run.journaled.spec.rounds()));
  }
  run.journaled.state = state;
  run.journaled.reason = std::string(reason);
}

void Witness::OnExtended(const JournaledRun& run) {
  WitnessedRun& witnessed = runs_.at(run.run_id);
  const JournaledRun& before = witnessed.journaled;
  const bool more = run.spec.rounds() > before.spec.rounds() || run.spec.stop_when().after() > before.spec.stop_when().after();
  Holds(more && before.state != v1::FAILED && before.state != v1::STOPPED, "a run is extended that can go on",
        absl::StrCat(run.run_id, " with ", before.spec.rounds(), " rounds, ", before.state));
  const absl::StatusOr<coordinator::RunModel> model = coordinator::RunModel::Of(run.spec);
  for (const uint64_t round : {uint64_t{1}, witnessed.round() + 1}) {
    Holds(model.ok() && optim::ParametersForRound(model->options, round).learning_rate ==
                            optim::ParametersForRound(witnessed.model->options, round).learning_rate,
          "rounds stay as they were", absl::StrCat(run.run_id, " round ", round, " with ", run.spec.rounds(), " rounds"));
  }
  witnessed.journaled = run;
}

void Witness::OnRound(const std::string& run_id, const JournaledRound& round) {
  WitnessedRun& run = runs_.at(run_id);
  Holds(round.round == run.round() + 1, "rounds follow each other",
        absl::StrCat(run_id, " starts round ", round.round, " after ", run.round()));
  for (const std::string& site : round.members) {
    Holds(coordinator::TakesSite(run.journaled.spec, site), "a run has its own sites alone",
          absl::StrCat(run_id, " has ", site, " in round ", round.round));
    for (const auto& [other_id, other] : runs_) {
      const bool trains = other_id != run_id && !other.over() && other.open.has_value() && absl::c_linear_search(other.open->members, site);
      Holds(!trains, "a site trains one run at a time", absl::StrCat(site, " is in a round of ", run_id, " and in one of ", other_id));
    }
  }
  // A round may be started again, with other members.
  if (std::exchange(run.committed_by_this, false)) {
    CheckReplay(run_id, run);
  }
  run.open = round;
}

std::string Witness::BytesOf(const std::string& file) {
  const absl::StatusOr<SharedBytes> bytes = files->Open(file);
  absl::StatusOr<std::string> all = bytes.ok() ? ReadAll(**bytes) : bytes.status();
  return Holds(all.ok(), "no file lost that the journal names", all.status().ToString()) ? *std::move(all) : "";
}

void Witness::Inline(JournaledUpdate& update) {
  if (!update.file.empty()) {
    update.payload = BytesOf(std::exchange(update.file, ""));
  }
}

void Witness::Inline(JournaledCommit& commit) {
  if (!commit.file.empty()) {
    commit.record = BytesOf(std::exchange(commit.file, ""));
  }
}

void Witness::OnUpdate(const std::string& run_id, uint64_t round, JournaledUpdate update) {
  Inline(update);
  WitnessedRun& run = runs_.at(run_id);
  Holds(run.open.has_value() && run.open->round == round, "updates are of the open round",
        absl::StrCat(run_id, " journaled an update of round ", round, " by ", update.site));
  for (const JournaledUpdate& known : run.updates) {
    if (known.site == update.site) {
      Holds(known.payload == update.payload, "none applied twice", absl::StrCat(update.site, " has two updates in round ", round));
      return;
    }
  }
  CheckBudget(run, update.payload);
  run.updates.push_back(update);
  run.time_to_replay += tick;
}

// Made again from the updates that were acknowledged.
void Witness::OnCommit(const std::string& run_id, uint64_t round, JournaledCommit commit) {
  Inline(commit);
  WitnessedRun& run = runs_.at(run_id);
  ++commits_;
  if (on_commit) {
    on_commit(commit.round_record);
  }
  if (run.broken) {
    return;
  }
  run.broken = true;
  if (!Holds(run.overdue.empty(), "replay is bounded", run.overdue)) {
    return;
  }
  const std::string where = absl::StrCat(run_id, " commit ", round);
  if (!Holds(round == run.round() + 1 && run.open.has_value() && run.open->round == round, "rounds follow each other",
             absl::StrCat(where, " after ", run.round()))) {
    return;
  }
  std::vector<std::string> sites;
  for (const JournaledUpdate& update : run.updates) {
    sites.push_back(update.site);
  }
  std::sort(sites.begin(), sites.end());
  if (!Holds(std::includes(commit.included.begin(), commit.included.end(), sites.begin(), sites.end()), "no acknowledged update lost",
             absl::StrCat(where, " holds ", absl::StrJoin(commit.included, ","), "; acknowledged were ", absl::StrJoin(sites, ","))) ||
      !Holds(sites == commit.included, "none applied twice",
             absl::StrCat(where, " holds ", absl::StrJoin(commit.included, ","), "; acknowledged were ", absl::StrJoin(sites, ",")))) {
    return;
  }
  absl::StatusOr<optim::Commit> decoded = optim::DecodeCommit(commit.record);
  if (!Holds(decoded.ok() && decoded->round == round && decoded->included == sites.size(), "chain intact",
             absl::StrCat(where, " is not that"))) {
    return;
  }
  const optim::RoundParameters parameters =
      coordinator::ParametersOf(*run.model, round, run.local_steps[coordinator::ReferenceRound(*run.model, round)]);
  std::map<std::string, v1::UpdateReport> reports;
  absl::Status made = run.aggregator->BeginRound(parameters, std::max<uint32_t>(1, run.open->members.size()));
  for (const JournaledUpdate& update : run.updates) {
    reports[update.site] = update.report;
    if (made.ok()) {
      const absl::StatusOr<uint32_t> weight = optim::WeightOf(run.model->options, update.report.samples());
      made = weight.ok() ? run.aggregator->Add(update.payload, *weight, update.site) : weight.status();
    }
  }
  absl::StatusOr<optim::Commit> again = made.ok() ? run.aggregator->Finish() : made;
  if (!Holds(again.ok() && optim::EncodeCommit(*again) == commit.record, "none applied twice",
             absl::StrCat(where, " is not what its ", sites.size(), " updates make: ", again.status().ToString()))) {
    return;
  }
  if (!Holds(commit.round_record.local_steps() == coordinator::StepsTaken(*run.model, parameters, reports), "a record tells the truth",
             absl::StrCat(where, ": ", commit.round_record.local_steps(), " local steps"))) {
    return;
  }
  run.chain = optim::ChainHash(run.chain, commit.record);
  if (!Holds(run.chain == commit.chain_hash, "chain intact", where)) {
    return;
  }
  if (!Holds(optim::Apply(run.model->options, run.model->layout, *decoded, run.state).ok(), "chain intact", where)) {
    return;
  }
  const std::string hash = DigestBytes(optim::StateHash(run.model->layout, run.state));
  if (!Holds(hash == DigestBytes(commit.state_hash), "replicas with equal round have equal hash",
             absl::StrCat(where, ": the coordinator's state is not what the log makes"))) {
    return;
  }
  CheckBudget(run, decoded->payload);
  run.hashes.push_back(hash);
  run.included.push_back(commit.included);
  run.local_steps.push_back(commit.round_record.local_steps());
  KeepPast(run);
  ++run.rounds_to_replay;
  run.bytes_to_replay += commit.record.size();
  for (const JournaledUpdate& update : run.updates) {
    run.bytes_to_replay += update.payload.size();
  }
  run.time_to_replay += 2 * tick;  // the commit, and applying it
  run.committed_by_this = true;
  run.open.reset();
  run.updates.clear();
  run.broken = false;
}

void Witness::Compare(coordinator::Journal& journal) {
  const absl::StatusOr<std::vector<JournaledRun>> found = journal.Runs();
  if (!Holds(found.ok(), "the journal survives", found.status().ToString())) {
    return;
  }
  for (const auto& [run_id, run] : runs_) {
    const bool there = std::any_of(found->begin(), found->end(), [&id = run_id](const JournaledRun& r) { return r.run_id == id; });
    Holds(there, "no acknowledged write lost", absl::StrCat("run ", run_id, " is gone"));
  }
  for (const JournaledRun& run : *found) {
    CompareRun(journal, run);
  }
}

void Witness::CompareRun(coordinator::Journal& journal, const JournaledRun& found) {
  if (!runs_.contains(found.run_id)) {
    OnRun(found);
  }
  WitnessedRun& run = runs_.at(found.run_id);
  Holds(found.spec.rounds() >= run.journaled.spec.rounds(), "no acknowledged write lost",
        absl::StrCat(found.run_id, " has ", found.spec.rounds(), " rounds, not ", run.journaled.spec.rounds()));
  if (found.spec.rounds() > run.journaled.spec.rounds()) {
    OnExtended(found);
  }
  if (run.broken || run.over()) {
    Holds(found.state == run.journaled.state || run.broken, "no acknowledged write lost",
          absl::StrCat(found.run_id, " is not over any more"));
    return;
  }
  const absl::StatusOr<uint64_t> last = journal.LastCommit(found.run_id);
  if (!Holds(last.ok(), "the journal survives", last.status().ToString())) {
    return;
  }
  if (!Holds(*last == run.round() || *last == run.round() + 1, "no acknowledged write lost",
             absl::StrCat(found.run_id, " ends at commit ", *last, " where ", run.round(), " was acknowledged"))) {
    return;
  }
  if (*last == run.round() + 1) {
    const absl::StatusOr<JournaledCommit> commit = journal.Commit(found.run_id, *last);
    if (Holds(commit.ok(), "the journal survives", commit.status().ToString())) {
      OnCommit(found.run_id, *last, *commit);
    }
  }
  run.committed_by_this = false;
  run.overdue.clear();
  const absl::StatusOr<std::optional<JournaledRound>> open = journal.OpenRound(found.run_id);
  if (!Holds(open.ok(), "the journal survives", open.status().ToString())) {
    return;
  }
  if (!Holds(open->has_value() || !run.open.has_value(), "no acknowledged write lost",
             absl::StrCat(found.run_id, " has no open round any more"))) {
    return;
  }
  if (open->has_value()) {
    OnRound(found.run_id, **open);
    absl::StatusOr<std::vector<JournaledUpdate>> updates = UpdatesOf(journal, found.run_id, (*open)->round);
    if (!Holds(updates.ok(), "the journal survives", updates.status().ToString())) {
      return;
    }
    for (JournaledUpdate& update : *updates) {
      Inline(update);
    }
    for (const JournaledUpdate& known : run.updates) {
      Holds(std::any_of(updates->begin(), updates->end(),
                        [&](const JournaledUpdate& update) { return update.site == known.site && update.payload == known.payload; }),
            "no acknowledged update lost",
            absl::StrCat(found.run_id, ": the update of ", known.site, " for round ", (*open)->round, " is gone"));
    }
    // The one write that a crash left unanswered may hold updates that came together.
    Holds(updates->size() <= run.open->members.size(), "no write out of nothing", found.run_id);
    for (const JournaledUpdate& update : *updates) {
      OnUpdate(found.run_id, (*open)->round, update);
    }
  }
  const absl::StatusOr<std::vector<coordinator::JournaledSnapshot>> snapshots = journal.Snapshots(found.run_id);
  if (!Holds(snapshots.ok(), "the journal survives", snapshots.status().ToString())) {
    return;
  }
  if (!snapshots->empty() && snapshots->back().round == run.round()) {
    OnSnapshot(found.run_id);
  }
  run.time_to_replay = absl::ZeroDuration();  // the new process has measured nothing yet
  if (found.state != run.journaled.state) {
    OnState(found.run_id, found.state, found.reason);
  }
}

}  // namespace tributary::sim
