#include "coordinator/audit/audited_journal.h"

#include <algorithm>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/excerpt.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

// What a site has signed against itself has an allowance of its own: nothing that costs nothing keeps it out of the log.
std::string AllowanceOf(const JournaledEvent& event) {
  return event.proof.standing == UpdateProof::Standing::kGood ? absl::StrCat(event.site, " ", event.kind) : event.site;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AuditedJournal>> AuditedJournal::Over(std::unique_ptr<Journal> journal, const Clock* clock,
                                                                     const std::string& federation) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<AuditLog> log, AuditLog::Open(journal.get(), clock, federation));
  return absl::WrapUnique(new AuditedJournal(std::move(journal), std::move(log), clock));
}

v1::AuditRecord::SignedUpdate AuditedJournal::Signed(const std::string& site, const std::string& base_state_hash,
                                                     const UpdateProof& proof) {
  Certificates& in_log = certificates_in_log_[site];
  if (in_log != proof.certificates && (in_log == nullptr || *in_log != *proof.certificates)) {
    v1::AuditRecord record;
    record.mutable_site_certificate()->set_site(site);
    *record.mutable_site_certificate()->mutable_certificates() = {proof.certificates->begin(), proof.certificates->end()};
    log_->Append(std::move(record));
    in_log = proof.certificates;
  }
  v1::AuditRecord::SignedUpdate update;
  update.set_base_state_hash(base_state_hash);
  update.set_sequence(proof.sequence);
  update.set_signature(proof.signature);
  update.set_certificate_sha256(DigestBytes(Sha256(proof.certificates->front())));
  return update;
}

absl::Status AuditedJournal::AddUpdates(const std::string& run_id, uint64_t round, absl::Span<const JournaledUpdate> updates) {
  for (const JournaledUpdate& update : updates) {
    v1::AuditRecord record;
    v1::AuditRecord::AcceptedUpdate& accepted = *record.mutable_accepted_update();
    accepted.set_site(update.site);
    accepted.set_run_id(run_id);
    accepted.set_round(round);
    accepted.set_payload_sha256(DigestBytes(update.file.empty() ? Sha256(update.payload) : update.file_digest));
    accepted.set_payload_bytes(update.bytes());
    if (update.proof.standing == UpdateProof::Standing::kGood) {
      *accepted.mutable_claim() = Signed(update.site, update.base_state_hash, update.proof);
    }
    log_->Append(std::move(record));
  }
  return ForwardingJournal::AddUpdates(run_id, round, updates);
}

absl::Status AuditedJournal::AddCommit(const std::string& run_id, uint64_t round, const JournaledCommit& commit) {
  v1::AuditRecord record;
  v1::AuditRecord::CommittedRound& committed = *record.mutable_committed_round();
  committed.set_run_id(run_id);
  committed.set_round(round);
  committed.set_chain_hash(DigestBytes(commit.chain_hash));
  committed.set_state_hash(DigestBytes(commit.state_hash));
  committed.set_updates(static_cast<uint32_t>(commit.included.size()));
  log_->Append(std::move(record));
  return ForwardingJournal::AddCommit(run_id, round, commit);
}

std::optional<uint64_t> AuditedJournal::Admit(const std::string& whose) {
  const absl::Time now = clock_.Now();
  Allowance& allowance = allowances_.try_emplace(whose, Allowance{.since = now}).first->second;
  const double earned = absl::FDivDuration(now - std::exchange(allowance.since, now), kAuditedEventInterval);
  allowance.left = std::min<double>(kAuditedEventsAtOnce, allowance.left + earned);
  if (allowance.left < 1) {
    ++allowance.omitted;
    return std::nullopt;
  }
  allowance.left -= 1;
  return std::exchange(allowance.omitted, 0);
}

void AuditedJournal::NoteEvent(const std::string& run_id, const JournaledEvent& event) {
  v1::AuditRecord record;
  if (event.site.empty()) {
    v1::AuditRecord::OperatorAct& act = *record.mutable_operator_act();
    act.set_operator_name(event.actor);
    act.set_act(event.kind);
    act.set_run_id(run_id);
    act.set_round(event.round);
    act.set_reason(event.detail);
    log_->Append(std::move(record));
  } else if (const std::optional<uint64_t> omitted = Admit(AllowanceOf(event)); omitted.has_value()) {
    v1::AuditRecord::SiteEvent& happened = *record.mutable_site_event();
    happened.set_site(event.site);
    happened.set_kind(event.kind);
    happened.set_run_id(run_id);
    happened.set_round(event.round);
    happened.set_detail(Excerpt(event.detail));
    happened.set_omitted_before(*omitted);
    if (event.proof.standing == UpdateProof::Standing::kGood) {
      *happened.mutable_claim() = Signed(event.site, event.base_state_hash, event.proof);
      happened.mutable_claim()->set_payload_sha256(event.proof.payload_sha256);
    }
    log_->Append(std::move(record));
  }
  ForwardingJournal::NoteEvent(run_id, event);
}

absl::Status AuditedJournal::PutSite(const v1::SiteRecord& site, const SiteAct& act) {
  if (KeepsSites()) {
    v1::AuditRecord record;
    v1::AuditRecord::RegistryAct& done = *record.mutable_registry_act();
    done.set_actor(act.actor);
    done.set_act(act.act);
    done.set_subject(site.name());
    done.set_detail(Excerpt(act.detail));
    log_->Append(std::move(record));
  }
  return ForwardingJournal::PutSite(site, act);
}

absl::StatusOr<std::vector<std::string>> AuditedJournal::Truncate(
    const std::string& run_id, uint64_t round, const std::function<absl::StatusOr<std::optional<JournaledSnapshot>>()>& settle) {
  v1::AuditRecord record;
  v1::AuditRecord::OperatorAct& act = *record.mutable_operator_act();
  act.set_act("taken back");
  act.set_run_id(run_id);
  act.set_round(round);
  log_->Append(std::move(record));
  return ForwardingJournal::Truncate(run_id, round, settle);
}

}  // namespace tributary::coordinator
