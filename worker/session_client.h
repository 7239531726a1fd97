// The worker's end of the network: one session to the coordinator and the transfers beside it, over one channel (gRPC callback API).
//
// gRPC stays behind this header. What happens is reported on one serial executor; nothing blocks.
#ifndef TRIBUTARY_WORKER_SESSION_CLIENT_H_
#define TRIBUTARY_WORKER_SESSION_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/byte_kind.h"
#include "common/clock.h"
#include "common/executor.h"
#include "common/proxy.h"
#include "common/tls.h"
#include "tributary/v1/session.pb.h"
#include "tributary/v1/transfer.pb.h"

namespace tributary::worker {

struct SessionClientOptions {
  std::string coordinator;         // host:port
  Route route = {};                // to it
  CertificateSource certificates;  // asked for each session; empty: plaintext (--insecure)
  Identity identity;               // what the worker claims to be in plaintext; with TLS the certificate says it
  std::string worker_secret = {};  // presented on every call (common/worker_secret.h); empty: none
  // A transfer that moves nothing for this long has failed. There is no limit to its total.
  absl::Duration progress_timeout = absl::Seconds(60);
  // Data in one frame of an upload; at most 1 MiB. With `up_rate`, at most what takes a quarter of a second.
  uint64_t frame_bytes = 256 << 10;
  // Bytes per second over the line; 0: no limit. The session's messages count, and hold up transfers; of them only updates wait themselves.
  uint64_t up_rate = 0;
  uint64_t down_rate = 0;
  Clock* clock = &Clock::Real();
  // For a polite end of the session.
  absl::Duration finish_timeout = absl::Seconds(2);
};

// Called on the executor. None may be empty.
struct SessionClientCallbacks {
  std::function<void(uint64_t session, v1::CoordinatorMessage message)> message;
  // The session has ended, or could not be opened. Unauthenticated, exit code kCredentials: one side's certificate was refused.
  std::function<void(uint64_t session, absl::Status status)> closed;
  // `arrived`: as in event::Downloaded and event::Uploaded.
  std::function<void(uint64_t transfer, absl::StatusOr<std::string> bytes, uint64_t arrived)> downloaded;
  std::function<void(uint64_t transfer, absl::Status status, uint64_t arrived)> uploaded;
  // A message of `encoded_bytes` (Protocol Buffers, before framing) went over the channel.
  std::function<void(ByteDirection direction, ByteKind kind, uint64_t encoded_bytes)> moved;
};

// Not thread-safe: all methods but the constructor and Shutdown are called on the executor.
class SessionClient {
 public:
  // `executor` outlives the client.
  SessionClient(SessionClientOptions options, SerialExecutor* executor, SessionClientCallbacks callbacks);
  // After Shutdown.
  ~SessionClient();

  // Opens session number `session` over a channel of its own; an older one is cancelled, unreported.
  void OpenSession(uint64_t session);
  // That the newest session was opened with, and what goes beside it; null: plaintext, or there was no session yet.
  std::shared_ptr<const CertificatePair> certificate() const;
  // Queued; dropped if that session is over.
  void Send(uint64_t session, v1::WorkerMessage message);
  // Cancels the session; its end is not reported.
  void CloseSession(uint64_t session);
  // Sends what is queued, ends the session politely, then calls `done` (on the executor); bounded by finish_timeout.
  void FinishSession(std::function<void()> done);

  // Asks how much of this payload has arrived, sends the rest in frames, and reports `uploaded`. FailedPrecondition if no session is open.
  void Upload(uint64_t transfer, v1::UploadHeader header, std::shared_ptr<const std::string> payload);
  // Fetches and checks, and reports `downloaded`. An attempt that broke off is resumed by the next Download of the same thing.
  // FailedPrecondition: more than `max_bytes`. DataLoss: a checksum.
  void Download(uint64_t transfer, v1::DownloadRequest request, uint64_t max_bytes);
  // The transfer is not reported any more.
  void CancelTransfer(uint64_t transfer);

  // Cancels everything and waits until gRPC has let go of it. Not on the executor, which must still be running. Idempotent.
  void Shutdown();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SESSION_CLIENT_H_
