#include "worker/outgoing_updates.h"

#include "common/status_macros.h"
#include "proto/audit/signed_update.h"

namespace tributary::worker {

OutgoingUpdates::OutgoingUpdates(const v1::WorkerConfig& config, const Clock* clock)
    : signer_{config.federation(), Role::kSite, config.site()}, to_(config.coordinator()), clock_(*clock), history_(config.state_dir()) {}

absl::Status OutgoingUpdates::Prepare(const CertificatePair* pair, v1::WorkerMessage& message) {
  std::optional<Sent> sent = SentIn(message);
  if (!sent.has_value()) {
    return absl::OkStatus();
  }
  absl::Status status;
  if (pair != nullptr && message.has_update()) {
    v1::Update& update = *message.mutable_update();
    status = Sign(*pair, update.base_state_hash(), *sent, *update.mutable_signature());
    if (!status.ok()) {
      update.clear_signature();
      sent->sequence = 0;
    }
  }
  status.Update(Enter(*sent));
  return status;
}

absl::Status OutgoingUpdates::Prepare(const CertificatePair* pair, v1::UploadHeader& header) {
  Sent sent = SentIn(header);
  absl::Status status;
  if (pair != nullptr) {
    status = Sign(*pair, header.base_state_hash(), sent, *header.mutable_signature());
    if (!status.ok()) {
      header.clear_signature();
      sent.sequence = 0;
    }
  }
  status.Update(Enter(sent));
  return status;
}

absl::Status OutgoingUpdates::Sign(const CertificatePair& pair, const std::string& base_state_hash, Sent& sent,
                                   v1::UpdateSignature& signature) {
  sent.sequence = history_.SequenceOf(sent);
  return SignUpdate({.federation = signer_.federation,
                     .site = signer_.name,
                     .run_id = sent.run_id,
                     .round = sent.round,
                     .base_state_hash = base_state_hash,
                     .payload_sha256 = sent.sha256,
                     .sequence = sent.sequence},
                    pair, signature);
}

absl::Status OutgoingUpdates::Enter(Sent& sent) {
  sent.at = clock_.WallNow();
  sent.to = to_;
  return history_.Add(sent);
}

}  // namespace tributary::worker
