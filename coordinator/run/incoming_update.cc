#include "coordinator/run/incoming_update.h"

#include <utility>

#include "common/checksum.h"

namespace tributary::coordinator {

IncomingUpdate UpdateOf(v1::Update message, UpdateProof proof) {
  IncomingUpdate update;
  update.round = message.round();
  update.base_state_hash = std::move(*message.mutable_base_state_hash());
  update.payload = std::move(*message.mutable_payload());
  update.payload_bytes = update.payload.size();
  // Whoever checked the signature has hashed the payload.
  update.digest = proof.payload_sha256.empty() ? DigestBytes(Sha256(update.payload)) : proof.payload_sha256;
  update.report = std::move(*message.mutable_report());
  update.proof = std::move(proof);
  return update;
}

IncomingUpdate UpdateOf(const v1::UploadHeader& header, UploadedPayload received) {
  IncomingUpdate update;
  update.round = header.id().round();
  update.base_state_hash = header.base_state_hash();
  update.digest = header.id().sha256();
  update.payload_bytes = received.bytes.empty() ? header.total_bytes() : received.bytes.size();
  update.payload = std::move(received.bytes);
  update.file = std::move(received.file);
  update.norm = std::move(received.norm);
  update.report = header.report();
  update.proof = std::move(received.proof);
  return update;
}

absl::Status CheckSigned(const IncomingUpdate& update, const v1::CoordinatorConfig& config) {
  if (update.proof.standing == UpdateProof::Standing::kBad) {
    return absl::UnauthenticatedError("its signature is not by the key of the site's certificate");
  }
  if (update.proof.standing == UpdateProof::Standing::kUnsigned && config.require_signed_updates()) {
    return absl::UnauthenticatedError("it is not signed by the site (require_signed_updates)");
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
