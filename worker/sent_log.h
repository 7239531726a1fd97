// What a worker has sent since the newest whole copy of its state (saved_state.h): one file a run in its state folder, "<run id>.sent".
//
// A record is durable before any byte of its update is sent. So a worker that is killed knows whether the residual in its copy still holds:
// it does while the log is absent or empty. Once an update was sent after the copy, parts of that residual may be in the model, and sending
// it again would count them twice. How far that goes, the newest record says.
//
// Format: records, each a length (4, little-endian) and so many bytes: optim/sealed_state.h of kind "sent", whose body is: length of the
// site (4) and site; round (8); each with its length before it (8): base state hash, SHA-256 of the payload, UpdateReport (Protocol
// Buffers); 1 if the payload is kept, else 0 (1); the payload, if so.
#ifndef TRIBUTARY_WORKER_SENT_LOG_H_
#define TRIBUTARY_WORKER_SENT_LOG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/file_store.h"
#include "worker/saved_state.h"

namespace tributary::worker {

// Longer payloads are not kept in the log: the longest cost as much as a copy of the state.
inline constexpr uint64_t kMaxLoggedPayload = uint64_t{1} << 20;

struct SentSince {
  // Bytes are in the log, readable or not.
  bool any = false;
  // The newest record that is whole. Its payload is null if it was too long to be kept.
  std::optional<PendingUpdate> newest;
};

// Not thread-safe. Errors are those of FileStore; what cannot be read as a record is none.
class SentLog {
 public:
  // `owner` as for the state; what it points to and `store` outlive the log. `max_payload`: at most kMaxLoggedPayload.
  SentLog(StateOwner owner, FileStore* store, uint64_t max_payload = kMaxLoggedPayload)
      : owner_(std::move(owner)), store_(store), max_payload_(max_payload) {}

  // Before anything else. What a torn write left is dropped with the next record.
  absl::StatusOr<SentSince> Open();
  // Durable when it returns OK.
  absl::Status Append(const PendingUpdate& update);
  // A whole copy is durable. No write if the log is empty.
  absl::Status Clear();

 private:
  std::string Encode(const PendingUpdate& update) const;

  const StateOwner owner_;
  FileStore* const store_;
  const uint64_t max_payload_;
  uint64_t bytes_ = 0;
  // The next record takes the place of what is there, for its end may be torn.
  bool replace_ = false;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SENT_LOG_H_
