// A snapshot: state[r] as bytes, self-describing and self-checking. On disk at the coordinator, and what a joining worker downloads.
//
// Format (docs/reference/wire_format.md, "Snapshot"): magic, version, layout hash, round, slot count, element count, then theta and slots
// as little-endian fp32, then SHA-256 of everything before it.
#ifndef TRIBUTARY_OPTIM_SNAPSHOT_H_
#define TRIBUTARY_OPTIM_SNAPSHOT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/byte_sink.h"
#include "common/stored_bytes.h"
#include "optim/layout.h"
#include "optim/replica_state.h"

namespace tributary::optim {

std::string EncodeSnapshot(const Layout& layout, const ReplicaState& state);
// The same bytes in pieces, none longer than kSliceBytes. Errors: the sink's.
absl::Status WriteSnapshot(const Layout& layout, const ReplicaState& state, ByteSink sink);

// DataLoss: truncated, damaged (checksum), of another layout, or with another number of slots than `slots`. Of a stored one, there is a
// slice in memory beside the state; errors of the storage.
absl::StatusOr<ReplicaState> DecodeSnapshot(absl::string_view bytes, const Layout& layout, int slots);
absl::StatusOr<ReplicaState> ReadSnapshot(const StoredBytes& bytes, const Layout& layout, int slots);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_SNAPSHOT_H_
