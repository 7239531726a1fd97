// Updates on their way in, from a session or from an upload: judged, checked, made durable, summed; and what their site is told.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/coordinator_impl.h"

namespace tributary::coordinator {

absl::Status CoordinatorImpl::Reject(const std::string& site, const std::string& run_id, uint64_t round, RejectionReason kind,
                                     const std::string& reason) {
  LogWarning("coordinator", "update rejected: round ", round, ": ", reason, " site=", site);
  if (deps_.metrics != nullptr) {
    deps_.metrics->CountUpdate(site, UpdateResult::kRejected);
    deps_.metrics->CountRejection(kind);
  }
  if (active_ != nullptr && run_id == active_->id()) {
    NoteEvent(site, "rejected", round, reason);
    v1::SiteStatus& totals = active_->accounts.site(site);
    totals.set_updates_rejected(totals.updates_rejected() + 1);
  }
  SendReceipt(site, run_id, round, v1::Receipt::REJECTED, reason);
  return absl::InvalidArgumentError(reason);
}

absl::Status CoordinatorImpl::JudgeUpdate(const std::string& site, const IncomingUpdate& update, bool& duplicate) {
  duplicate = false;
  if (active_ == nullptr || update.run_id != active_->id()) {
    Reject(site, update.run_id, update.round, RejectionReason::kRun, absl::StrCat("run ", update.run_id, " is not open")).IgnoreError();
    return absl::FailedPreconditionError(absl::StrCat("run ", update.run_id, " is not open"));
  }
  const uint64_t longest = std::min(config_.max_update(), active_->host->model().max_payload);
  const UpdateVerdict verdict = active_->engine.Judge(site, update.round, update.base_state_hash, update.digest);
  switch (verdict.kind) {
    case UpdateVerdict::Kind::kAcceptable:
      break;
    case UpdateVerdict::Kind::kDuplicate:
      // An upload may announce any length for a digest that is known; nothing is set aside for it.
      if (update.payload_bytes > longest) {
        return absl::ResourceExhaustedError(absl::StrCat(update.payload_bytes, " bytes; an update of this run has at most ", longest));
      }
      duplicate = true;
      return absl::OkStatus();
    case UpdateVerdict::Kind::kConflict:
      LogWarning("coordinator", verdict.reason, " site=", site);
      if (deps_.metrics != nullptr) {
        deps_.metrics->CountRejection(RejectionReason::kDuplicate);
      }
      return absl::FailedPreconditionError(verdict.reason);  // no receipt: the one of the accepted update is still to come
    case UpdateVerdict::Kind::kLate: {
      if (deps_.metrics != nullptr) {
        deps_.metrics->CountUpdate(site, UpdateResult::kLate);
      }
      v1::SiteStatus& totals = active_->accounts.site(site);
      totals.set_updates_late(totals.updates_late() + 1);
      NoteEvent(site, "late", update.round, verdict.reason);
      SendReceipt(site, update.run_id, update.round, v1::Receipt::LATE, verdict.reason);
      Dispatch(UpdateCameLate{update.round});
      return absl::FailedPreconditionError(verdict.reason);
    }
    case UpdateVerdict::Kind::kWrongBase: {
      Reject(site, update.run_id, update.round, RejectionReason::kBaseState, verdict.reason).IgnoreError();
      if (Consented(site)) {
        Quarantine(site, active_->engine.base_round(), update.base_state_hash);
      }
      return absl::FailedPreconditionError(verdict.reason);
    }
    case UpdateVerdict::Kind::kRefused:
      Reject(site, update.run_id, update.round,
             active_->engine.open_round() == update.round ? RejectionReason::kNotMember : RejectionReason::kRound, verdict.reason)
          .IgnoreError();
      return absl::FailedPreconditionError(verdict.reason);
  }
  if (update.payload_bytes > longest) {
    const std::string reason = absl::StrCat(update.payload_bytes, " bytes; an update of this run has at most ", longest);
    Reject(site, update.run_id, update.round, RejectionReason::kSize, reason).IgnoreError();
    Dispatch(UpdateRefused{site, reason});
    return absl::ResourceExhaustedError(reason);
  }
  return absl::OkStatus();
}

absl::Status CoordinatorImpl::OnUpdate(const std::string& site, IncomingUpdate update) {
  bool duplicate = false;
  if (active_ != nullptr && update.run_id == active_->id()) {
    active_->accounts.CountUpdatePayload(update.payload_bytes);
  }
  TRIBUTARY_RETURN_IF_ERROR(JudgeUpdate(site, update, duplicate));
  if (duplicate) {
    return absl::OkStatus();
  }
  RunHost& host = *active_->host;
  if (const absl::Status valid = host.CheckUpdate(update.payload, update.report); !valid.ok()) {
    const std::string reason = absl::StrCat("site ", site, ", round ", update.round, ": ", valid.message());
    const absl::Status rejected = Reject(site, update.run_id, update.round, RejectionReason::kInvalid, reason);
    Dispatch(UpdateRefused{site, std::string(valid.message())});
    return rejected;
  }
  if (!Survives(host.AcceptUpdate(site, std::move(update.payload), update.digest, update.report))) {
    return StorageHasFailed();
  }
  active_->last_accepted = At().now;
  v1::SiteStatus& totals = active_->accounts.site(site);
  totals.set_round(active_->engine.base_round());
  totals.set_state_hash(update.base_state_hash);
  Dispatch(UpdateAccepted{site, update.digest});
  return absl::OkStatus();
}

absl::Status CoordinatorImpl::CheckUpload(const std::string& site, const v1::UploadHeader& header) {
  if (failed_) {
    return StorageHasFailed();
  }
  IncomingUpdate update;
  update.run_id = header.id().run_id();
  update.round = header.id().round();
  update.base_state_hash = header.base_state_hash();
  update.digest = header.id().sha256();
  update.payload_bytes = header.total_bytes();
  bool duplicate = false;
  return JudgeUpdate(site, update, duplicate);
}

absl::Status CoordinatorImpl::UploadCompleted(const std::string& site, const v1::UploadHeader& header, std::string payload) {
  if (failed_) {
    return StorageHasFailed();
  }
  IncomingUpdate update;
  update.run_id = header.id().run_id();
  update.round = header.id().round();
  update.base_state_hash = header.base_state_hash();
  update.digest = header.id().sha256();
  update.payload = std::move(payload);
  update.payload_bytes = update.payload.size();
  update.report = header.report();
  return OnUpdate(site, std::move(update));
}

}  // namespace tributary::coordinator
