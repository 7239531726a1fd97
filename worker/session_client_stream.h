// The worker's end of one session as a gRPC stream. Part of the session client.
#ifndef TRIBUTARY_WORKER_SESSION_CLIENT_STREAM_H_
#define TRIBUTARY_WORKER_SESSION_CLIENT_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "common/byte_kind.h"
#include "common/executor.h"
#include "tributary/v1/session.grpc.pb.h"
#include "worker/session_client_transfer.h"

namespace tributary::worker {

// What a stream needs of its owner. The functions are called on the executor.
struct SessionStreamOwner {
  SerialExecutor* executor = nullptr;
  // Adds metadata (the claimed identity in plaintext).
  std::function<void(grpc::ClientContext&)> prepare;
  // A message was received, or is about to be sent.
  std::function<void(ByteDirection direction, ByteKind kind, uint64_t bytes)> moved;
  std::function<void(v1::CoordinatorMessage message)> message;
  // The last thing that happens to the stream, which may be destroyed in it.
  std::function<void(absl::Status status)> done;
};

// Reactions post to the executor and return; operations are started there, under the hold taken by Open. Every method runs on the executor.
class SessionStream final : public grpc::ClientBidiReactor<v1::WorkerMessage, v1::CoordinatorMessage> {
 public:
  SessionStream(SessionStreamOwner owner, std::shared_ptr<grpc::Channel> channel);

  void Open();
  // Dropped once the stream is over or finishing.
  void Send(v1::WorkerMessage message);
  // Half-closes once everything is sent.
  void Finish();
  void Cancel() { context_.TryCancel(); }

 private:
  void WriteNext();
  void OnWriteDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  const SessionStreamOwner owner_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::SessionService::Stub> stub_;
  Handoff handoff_;
  grpc::ClientContext context_;
  v1::CoordinatorMessage incoming_;
  std::deque<v1::WorkerMessage> queue_;  // front: being written while writing_
  bool writing_ = false;
  bool finishing_ = false;
  bool half_closed_ = false;
  bool over_ = false;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SESSION_CLIENT_STREAM_H_
