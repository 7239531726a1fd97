// One update on its way into a run, however it came.
#ifndef TRIBUTARY_COORDINATOR_RUN_INCOMING_UPDATE_H_
#define TRIBUTARY_COORDINATOR_RUN_INCOMING_UPDATE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/run/upload_place.h"
#include "proto/audit/signed_update.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/session.pb.h"
#include "tributary/v1/transfer.pb.h"

namespace tributary::coordinator {

struct IncomingUpdate {
  uint64_t round = 0;
  std::string base_state_hash;
  std::string digest;  // SHA-256 of the payload, raw bytes
  std::string payload;
  std::string file;                   // that holds the payload, durably; empty: `payload` does
  absl::StatusOr<double> norm = 0.0;  // of the file (UploadPlace)
  uint64_t payload_bytes = 0;         // known before the payload is
  v1::UpdateReport report;
  UpdateProof proof;
};
IncomingUpdate UpdateOf(v1::Update message, UpdateProof proof);
// Nothing was received as long as only the header is there.
IncomingUpdate UpdateOf(const v1::UploadHeader& header, UploadedPayload received);

// Unauthenticated: its signature is not the site's, or it has none and `config` requires one.
absl::Status CheckSigned(const IncomingUpdate& update, const v1::CoordinatorConfig& config);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_INCOMING_UPDATE_H_
