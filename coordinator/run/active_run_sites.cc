// The run's sites: consent, plans that lead them to the current state, quarantine, and their updates (the conversation stands in
// proto/tributary/v1/session.proto).
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checksum.h"
#include "common/excerpt.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/run/active_run.h"
#include "coordinator/run/kept_upload.h"
#include "coordinator/run/receipts.h"
#include "coordinator/run/strikes.h"

namespace tributary::coordinator {
namespace {

// A site that is at most so many commits behind when it is ready is sent them on the session; further behind, it gets a plan to download.
// Without this a site might never catch up with fast rounds.
constexpr uint64_t kMaxCatchUp = 16;
// After so many wrong states in a row a replica is beyond repair by resynchronising.
constexpr int kMaxMismatches = 3;
constexpr absl::Duration kEvidenceInterval = absl::Seconds(1);

}  // namespace

void ActiveRun::Offer(const std::string& site, const Greeting& greeting) {
  SiteState& state = sites_[site] = SiteState();
  state.software_version = greeting.software_version;
  if (const std::string why = accounts_.QuarantineOf(site); !why.empty()) {
    deps_.membership->Set(site, Presence::kQuarantined, why);
    Dispatch(MembersChanged{});
    return;
  }
  Capabilities lacking = RequiredCapabilities(journaled_.spec);
  if (config_.require_signed_updates()) {
    lacking.insert(kSignsUpdates);
  }
  std::erase_if(lacking, [&](const std::string& word) { return greeting.capabilities.contains(word); });
  if (!lacking.empty()) {
    Refused(site, absl::StrCat("its release ", greeting.software_version, " lacks ", absl::StrJoin(lacking, ", "), ": upgrade its worker"));
    return;
  }
  state.held = greeting.held;
  state.offered = true;
  v1::CoordinatorMessage message;
  v1::RunOffer& offer = *message.mutable_run_offer();
  offer.set_run_id(id());
  *offer.mutable_spec() = journaled_.spec;
  offer.set_layout_hash(DigestBytes(host_->model().layout.hash()));
  deps_.membership->Set(site, Presence::kOffered);
  SendMessage(*deps_.environment, site, std::move(message));
  Dispatch(MembersChanged{});
}

void ActiveRun::Refused(const std::string& site, const std::string& why) {
  LogWarning("coordinator", "run ", id(), " refused: ", why, LogField("site", site));
  deps_.membership->Set(site, Presence::kRefused, why);
  NoteEvent(site, "refused", 0, why);
  Dispatch(MembersChanged{});
}

void ActiveRun::OnRunAnswer(const std::string& site, const v1::RunAnswer& answer) {
  const auto asked = sites_.find(site);
  if (!TakeHeldUpdates() || over() || asked == sites_.end() || !asked->second.offered) {
    return;
  }
  if (!answer.accepted()) {
    Refused(site, Excerpt(answer.refusal()));
    return;
  }
  if (!answer.columns_digest().empty() && answer.columns_digest().size() != kDigestBytes) {
    deps_.environment->Close(site, absl::InvalidArgumentError("RunAnswer: columns_digest is not a SHA-256"));
    Dispatch(MembersChanged{});
    return;
  }
  if (const std::string why = AdmitColumns(site, answer.columns_digest()); !why.empty()) {
    v1::CoordinatorMessage message;
    message.mutable_run_refused()->set_run_id(id());
    message.mutable_run_refused()->set_reason(why);
    SendMessage(*deps_.environment, site, std::move(message));
    Refused(site, why);
    return;
  }
  const std::optional<v1::HeldState> held = std::exchange(asked->second.held, std::nullopt);
  const bool of_this_run = held.has_value() && held->run_id() == id() && !held->state_hash().empty();
  if (of_this_run && !host_->Agrees(held->round(), held->state_hash())) {
    Quarantine(site, held->round(), held->state_hash());
    return;
  }
  SendPlan(site, held, "");
}

std::string ActiveRun::AdmitColumns(const std::string& site, const std::string& digest) {
  if (digest.empty()) {
    const bool has_columns = !host_->model().spec.data().label_column().empty();
    if (has_columns && !std::exchange(told_of_unknown_columns_, true)) {
      LogWarning("coordinator", "run ", id(), ": the worker's release ", sites_[site].software_version,
                 " does not tell its columns, and nobody compares them with the other sites'", LogField("site", site));
    }
    return "";
  }
  const auto first = [](const std::string& bytes) { return absl::BytesToHexString(bytes.substr(0, 4)); };
  for (const v1::SiteStatus& other : accounts_.SiteTotals()) {
    const bool counts = other.updates_included() > 0 || (other.site() != site && Consented(other.site()));
    if (counts && !other.columns_digest().empty() && other.columns_digest() != digest) {
      return absl::StrCat("its list of columns differs from ",
                          other.site() == site ? "its own before" : absl::StrCat("that of ", other.site()), " (digests ", first(digest),
                          " and ", first(other.columns_digest()), "): the sites of a run need the same columns in the same order");
    }
  }
  accounts_.site(site).set_columns_digest(digest);
  return "";
}

const v1::SyncPlan* ActiveRun::UnfinishedPlan(const std::string& site, const std::string& held, uint64_t included) const {
  const auto it = unfinished_syncs_.find(site);
  if (it == unfinished_syncs_.end() || it->second.held != held) {
    return nullptr;
  }
  // The fate of the site's latest update must be told with the plan or after it.
  const v1::SyncPlan& plan = it->second.plan;
  const bool fetches = plan.needs_snapshot() || plan.first_commit() <= plan.target_round();
  return fetches && included <= plan.target_round() && host_->StillServes(plan) ? &plan : nullptr;
}

void ActiveRun::SendPlan(const std::string& site, const std::optional<v1::HeldState>& held, const std::string& reason) {
  const absl::StatusOr<uint64_t> included = host_->LastIncluded(site);
  if (!Survives(included.status())) {
    return;
  }
  v1::CoordinatorMessage message;
  v1::SyncPlan& plan = *message.mutable_sync_plan();
  const bool holds = held.has_value() && held->run_id() == id() && !held->state_hash().empty();
  const std::string held_key = holds ? absl::StrCat(held->round(), " ", held->state_hash()) : "";
  const v1::SyncPlan* const unfinished = reason.empty() ? UnfinishedPlan(site, held_key, *included) : nullptr;
  plan = unfinished != nullptr ? *unfinished : host_->PlanSync(held, reason);
  unfinished_syncs_[site] = {held_key, plan};
  if (*included > 0 && *included <= plan.target_round()) {
    plan.mutable_last_receipt()->set_run_id(id());
    plan.mutable_last_receipt()->set_round(*included);
    plan.mutable_last_receipt()->set_result(v1::Receipt::INCLUDED);
  }
  sites_[site].planned = plan.target_round();
  if (reason.empty()) {
    deps_.membership->Set(site, Presence::kSyncing);
  }
  SendMessage(*deps_.environment, site, std::move(message));
  Dispatch(MembersChanged{});
}

void ActiveRun::NoteEvent(const std::string& site, absl::string_view kind, uint64_t round, absl::string_view detail) {
  deps_.journal->NoteEvent(id(), {UnixMillis(), site, std::string(kind), round, std::string(detail)});
}

bool ActiveRun::Consented(const std::string& site) const {
  const auto it = deps_.membership->sites().find(site);
  return it != deps_.membership->sites().end() && accounts_.QuarantineOf(site).empty() &&
         (it->second.presence == Presence::kSyncing || it->second.presence == Presence::kQuarantined ||
          it->second.presence == Presence::kReady);
}

void ActiveRun::OnReady(const std::string& site, const v1::Ready& ready) {
  if (!TakeHeldUpdates() || over() || !Consented(site)) {
    return;
  }
  SiteState& state = sites_[site];
  std::optional<v1::HeldState> held;
  if (!ready.state_hash().empty()) {
    if (ready.state_hash().size() != kDigestBytes) {
      deps_.environment->Close(site, absl::InvalidArgumentError("Ready: state_hash is not a SHA-256"));
      Dispatch(MembersChanged{});
      return;
    }
    held.emplace();
    held->set_run_id(ready.run_id());
    held->set_round(ready.round());
    held->set_state_hash(ready.state_hash());
    v1::SiteStatus& totals = accounts_.site(site);
    totals.set_round(ready.round());
    totals.set_state_hash(ready.state_hash());
    if (!host_->Agrees(ready.round(), ready.state_hash())) {
      Quarantine(site, ready.round(), ready.state_hash());
      return;
    }
    state.mismatches = 0;
  }
  const bool answers_plan = held.has_value() && state.planned == ready.round();
  state.planned.reset();
  if (answers_plan) {
    unfinished_syncs_.erase(site);
  }
  if (!answers_plan || host_->round() - ready.round() > kMaxCatchUp || !host_->LeadsOnFrom(ready.round())) {
    SendPlan(site, held, "");
    return;
  }
  for (uint64_t round = ready.round() + 1; round <= host_->round(); ++round) {
    const absl::StatusOr<JournaledCommit> commit = host_->Commit(round);
    if (!Survives(commit.status())) {
      return;
    }
    const absl::StatusOr<SharedBytes> record = RecordOf(host_->files(), *commit);
    if (!Survives(record.status())) {
      return;
    }
    const auto message = CommitMessage(round, **record, DigestBytes(commit->state_hash));
    if (!Survives(message.status())) {
      return;
    }
    deps_.environment->Send(site, *message);
  }
  const Presence before = deps_.membership->sites().at(site).presence;
  if (before != Presence::kReady) {
    NoteEvent(site, before == Presence::kQuarantined ? "resynchronised" : "joined", host_->round(), "");
  }
  deps_.membership->Set(site, Presence::kReady);
  LogInfo("coordinator", "ready at round ", host_->round(), LogField("run", id()), LogField("site", site));
  // A site that was just sent the last commit reports on it; one that has it already is known to agree.
  if (engine_.reporting() && ready.round() < host_->round()) {
    Dispatch(MembersChanged{});
  } else {
    Dispatch(SiteReady{site});
  }
}

void ActiveRun::Quarantine(const std::string& site, uint64_t round, const std::string& state_hash) {
  // Ahead of the log: no replica went wrong, the log was taken back (`tributary journal truncate-to`, a backup, a disk that lost what it
  // had promised to keep). That is evidence too, but of the log.
  const bool ahead = round > host_->round();
  if (!ahead) {
    deps_.metrics->CountHashMismatch();
  }
  const std::string reason = ahead ? absl::StrCat("it holds round ", round, ", the log ends at ", host_->round())
                                   : absl::StrCat("its state[", round, "] differs from the log's");
  Log(ahead ? LogLevel::kWarning : LogLevel::kError, "coordinator", ahead ? "the log was taken back: " : "replica disagrees: ", reason,
      "; its hash ", absl::BytesToHexString(state_hash.substr(0, kDigestBytes)), " log's round ", host_->round(), " hash ",
      absl::BytesToHexString(host_->state_hash()), LogField("site", site));
  SiteState& state = sites_[site];
  if (!ahead) {
    last_mismatch_[site] = round;
  }
  if (state.mismatches <= kMaxMismatches) {
    NoteEvent(site, "quarantined", round, reason);
    deps_.journal->NoteEvidence(id(), {UnixMillis(), site, round, state_hash.substr(0, kDigestBytes),
                                       ahead ? "" : host_->StateHashAt(round), state.software_version});
  }
  // At once, but not as often as a site likes.
  if (const absl::Time now = At().now; now - evidence_written_ >= kEvidenceInterval) {
    evidence_written_ = now;
    if (!Survives(deps_.journal->Flush())) {
      return;
    }
  }
  if (++state.mismatches > kMaxMismatches) {
    deps_.membership->Set(site, Presence::kQuarantined,
                          absl::StrCat(reason, " again after ", kMaxMismatches,
                                       " resynchronisations; check the site's memory and software version, then restart its worker"));
    Dispatch(MembersChanged{});
    return;
  }
  deps_.membership->Set(site, Presence::kQuarantined, reason);
  v1::HeldState held;
  held.set_run_id(id());
  held.set_round(round);
  held.set_state_hash(state_hash);
  SendPlan(site, held, reason);
}

void ActiveRun::OnBenched(const SiteBenched& benched) {
  const std::string why = absl::StrCat("no update of it came in time in ", benched.misses, " rounds in a row; it is benched until round ",
                                       benched.until, ", unless it is needed before");
  LogWarning("coordinator", why, LogField("run", id()), LogField("site", benched.site));
  NoteEvent(benched.site, "benched", host_->round() + 1, why);
  deps_.metrics->CountBenched(benched.site);
}

void ActiveRun::OnUpdateSkipped(const std::string& site, const v1::UpdateSkipped& skipped) {
  const std::string reason = Excerpt(skipped.reason());
  LogWarning("coordinator", "round ", skipped.round(), " skipped: ", reason, LogField("run", id()), LogField("site", site));
  deps_.metrics->CountUpdate(site, UpdateResult::kSkipped);
  Dispatch(UpdateSkipped{site, skipped.round(), reason});
}

void ActiveRun::OnStateReport(const std::string& site, const v1::StateReport& report) {
  if (!TakeHeldUpdates() || over() || !Consented(site)) {
    return;
  }
  if (report.state_hash().size() != kDigestBytes) {
    deps_.environment->Close(site, absl::InvalidArgumentError("StateReport: state_hash is not a SHA-256"));
    Dispatch(MembersChanged{});
    return;
  }
  v1::SiteStatus& totals = accounts_.site(site);
  totals.set_round(report.round());
  totals.set_state_hash(report.state_hash());
  if (!host_->Agrees(report.round(), report.state_hash())) {
    Quarantine(site, report.round(), report.state_hash());
    return;
  }
  sites_[site].mismatches = 0;
  if (report.round() != host_->round() || !engine_.reporting()) {
    return;
  }
  const std::optional<JournaledEvaluation> evaluation = EvaluationIn(report, journaled_.spec.evaluation());
  accounts_.SetSiteEvaluation(site, evaluation);
  if (evaluation.has_value()) {
    // A site that comes back after a restart does not report again. What has moved since the last commit goes with the counters.
    accounts_.AddTailToLastRecord();
    if (!Survives(KeepAccounts()) || !RecordEvaluation(host_->round(), accounts_.SiteEvaluations())) {
      return;
    }
  }
  Dispatch(StateReported{site});
}

void ActiveRun::Reject(const std::string& site, uint64_t round, RejectionReason kind, const std::string& reason) {
  NoteEvent(site, "rejected", round, reason);
  v1::SiteStatus& totals = accounts_.site(site);
  totals.set_updates_rejected(totals.updates_rejected() + 1);
  summary_.UpdateRejected();
  SendRejection(*deps_.environment, *deps_.metrics, site, id(), round, kind, reason);
}

absl::StatusOr<ActiveRun::Judgement> ActiveRun::Judge(const std::string& site, const IncomingUpdate& update) {
  const auto is_of_site = [&site](const HeldUpdate& held) { return held.update.site == site; };
  if (std::any_of(held_.begin(), held_.end(), is_of_site) && !TakeHeldUpdates()) {
    return StorageHasFailed();
  }
  const uint64_t longest = std::min(config_.max_update(), host_->model().max_payload);
  const std::string too_long = absl::StrCat(update.payload_bytes, " bytes; an update of this run has at most ", longest);
  const UpdateVerdict verdict = engine_.Judge(site, update.round, update.base_state_hash, update.digest);
  switch (verdict.kind) {
    case UpdateVerdict::Kind::kAcceptable:
      break;
    case UpdateVerdict::Kind::kDuplicate:
      // An upload may announce any length for a digest that is known; nothing is set aside for it.
      if (update.payload_bytes > longest) {
        return absl::ResourceExhaustedError(too_long);
      }
      return Judgement::kDuplicate;
    case UpdateVerdict::Kind::kConflict:
      return RefuseConflicting(*deps_.journal, *deps_.metrics, site, id(), update, verdict, UnixMillis());
    case UpdateVerdict::Kind::kLate: {
      deps_.metrics->CountUpdate(site, UpdateResult::kLate);
      v1::SiteStatus& totals = accounts_.site(site);
      totals.set_updates_late(totals.updates_late() + 1);
      summary_.UpdateCameLate();
      NoteEvent(site, "late", update.round, verdict.reason);
      SendReceipt(*deps_.environment, site, id(), update.round, v1::Receipt::LATE, verdict.reason);
      Dispatch(UpdateCameLate{site, update.round});
      return absl::FailedPreconditionError(verdict.reason);
    }
    case UpdateVerdict::Kind::kWrongBase:
      Reject(site, update.round, RejectionReason::kBaseState, verdict.reason);
      if (Consented(site)) {
        Quarantine(site, engine_.base_round(), update.base_state_hash);
      }
      return absl::FailedPreconditionError(verdict.reason);
    case UpdateVerdict::Kind::kRefused:
      Reject(site, update.round, engine_.open_round() == update.round ? RejectionReason::kNotMember : RejectionReason::kRound,
             verdict.reason);
      return absl::FailedPreconditionError(verdict.reason);
  }
  if (update.payload_bytes > longest) {
    Reject(site, update.round, RejectionReason::kSize, too_long);
    DispatchRefusal(site, update.round, too_long);
    return absl::ResourceExhaustedError(too_long);
  }
  return Judgement::kNew;
}

absl::StatusOr<std::unique_ptr<UploadPlace>> ActiveRun::PlaceFor(const std::string& site, uint64_t round) {
  return PlaceForUpload(*host_, id(), site, round);
}

void ActiveRun::Refuse(const std::string& site, uint64_t round, const absl::Status& why, const std::string& told) {
  Reject(site, round, ReasonOf(why), told);
  v1::SiteStatus& totals = accounts_.site(site);
  if (Strike(totals, round, why.message())) {
    LogError("coordinator", "quarantined: ", totals.quarantine(), "; `tributary run readmit ", id(), " ", site, "` lets it take part again",
             LogField("run", id()), LogField("site", site));
    NoteEvent(site, "quarantined", round, totals.quarantine());
    deps_.membership->Set(site, Presence::kQuarantined, totals.quarantine());
    Survives(KeepAccounts());
  }
  DispatchRefusal(site, round, std::string(why.message()));
}

void ActiveRun::NoteBounded(const std::string& site, uint64_t round, const MeasuredUpdate& measured) {
  v1::SiteStatus& totals = accounts_.site(site);
  totals.set_updates_bounded(totals.updates_bounded() + 1);
  deps_.metrics->CountBounded(site);
  // The first time; then the counters tell.
  if (totals.updates_bounded() == 1) {
    const std::string what = WhyBounded(measured);
    LogWarning("coordinator", "round ", round, ": ", what, LogField("run", id()), LogField("site", site));
    NoteEvent(site, "bounded", round, what);
  }
}

void ActiveRun::DispatchRefusal(const std::string& site, uint64_t round, std::string reason) {
  if (TakeHeldUpdates() && engine_.open_round() == round) {
    Dispatch(UpdateRefused{site, std::move(reason)});
  }
}

absl::Status ActiveRun::OnUpdate(const std::string& site, IncomingUpdate update) {
  const std::string file = update.file;
  const absl::StatusOr<Judgement> held = Hold(site, std::move(update));
  if (held.ok() && *held == Judgement::kNew) {
    return TakeHeldUpdates() ? absl::OkStatus() : StorageHasFailed();
  }
  // What the journal does not name nobody will read.
  if (!file.empty() && !Survives(host_->files().Remove(file))) {
    return StorageHasFailed();
  }
  return held.status();
}

void ActiveRun::OnInlineUpdate(const std::string& site, IncomingUpdate update) {
  const bool first = held_.empty();
  const absl::Status held = Hold(site, std::move(update)).status();  // the receipt says it, but of a second update
  if (absl::IsAlreadyExists(held)) {
    deps_.environment->Close(site, held);
    Dispatch(MembersChanged{});
  }
  if (first && !held_.empty()) {
    deps_.environment->TakeHeldUpdatesSoon(id());
  }
}

absl::StatusOr<ActiveRun::Judgement> ActiveRun::Hold(const std::string& site, IncomingUpdate update) {
  accounts_.CountUpdatePayload(update.payload_bytes);
  TRIBUTARY_ASSIGN_OR_RETURN(const Judgement judgement, Judge(site, update));
  if (judgement == Judgement::kDuplicate) {
    return judgement;
  }
  const absl::Status proven = CheckSigned(update, config_);
  const absl::StatusOr<MeasuredUpdate> measured = proven.ok() ? host_->CheckUpdate(site, update) : proven;
  if (!measured.ok()) {
    if (proven.ok() && !absl::IsInvalidArgument(measured.status()) && !absl::IsOutOfRange(measured.status())) {
      return measured.status();  // the storage's: it says nothing of the update, which may come again
    }
    const std::string reason = absl::StrCat("site ", site, ", round ", update.round, ": ", measured.status().message());
    Refuse(site, update.round, measured.status(), reason);
    return absl::InvalidArgumentError(reason);
  }
  if (measured->share < 1) {
    NoteBounded(site, update.round, *measured);
  }
  HeldUpdate& held = held_.emplace_back();
  held.norm = measured->norm;
  held.update.site = site;
  held.update.payload = std::move(update.payload);
  held.update.report = std::move(update.report);
  KeepAsked(journaled_.spec.evaluation(), held.update.report);
  if (!update.file.empty()) {
    held.update.file = std::move(update.file);
    held.update.file_bytes = update.payload_bytes;
    ToDigest(update.digest, held.update.file_digest);
  }
  held.update.base_state_hash = std::move(update.base_state_hash);
  held.update.proof = std::move(update.proof);
  held.digest = std::move(update.digest);
  return judgement;
}

bool ActiveRun::TakeHeldUpdates() {
  if (failed_ || held_.empty()) {
    return !failed_;
  }
  UpdatesAccepted accepted;
  std::vector<JournaledUpdate> updates;
  std::vector<double> norms;
  for (HeldUpdate& held : std::exchange(held_, {})) {
    v1::SiteStatus& totals = accounts_.site(held.update.site);
    totals.set_round(engine_.base_round());
    totals.set_state_hash(held.update.base_state_hash);
    accepted.updates.push_back({held.update.site, std::move(held.digest)});
    updates.push_back(std::move(held.update));
    norms.push_back(held.norm);
  }
  if (!Survives(host_->AcceptUpdates(updates, norms, accepted))) {
    return false;
  }
  last_accepted_ = At().now;
  for (const UpdateAccepted& update : accepted.updates) {
    deps_.metrics->ObserveArrival(update.site, last_accepted_ - engine_.round_start());
  }
  Dispatch(std::move(accepted));
  return !failed_;
}

}  // namespace tributary::coordinator
