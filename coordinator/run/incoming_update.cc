#include "coordinator/run/incoming_update.h"

#include <utility>

#include "common/checksum.h"

namespace tributary::coordinator {

IncomingUpdate UpdateOf(v1::Update message) {
  IncomingUpdate update;
  update.round = message.round();
  update.base_state_hash = std::move(*message.mutable_base_state_hash());
  update.payload = std::move(*message.mutable_payload());
  update.payload_bytes = update.payload.size();
  update.digest = DigestBytes(Sha256(update.payload));
  update.report = std::move(*message.mutable_report());
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
  return update;
}

}  // namespace tributary::coordinator
