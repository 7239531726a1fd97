// One upload and one download as gRPC calls. Part of the session client; its own header because of its own tests' and readers' sake.
#ifndef TRIBUTARY_WORKER_SESSION_CLIENT_TRANSFER_H_
#define TRIBUTARY_WORKER_SESSION_CLIENT_TRANSFER_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checksum.h"
#include "tributary/v1/transfer.grpc.pb.h"

namespace tributary::worker {

// gRPC runs a reaction after the operation that led to it. ThreadSanitizer does not see into a packaged gRPC; these two say it, and cost
// nothing.
class Handoff {
 public:
  // Before an operation is started.
  void Give() { count_.fetch_add(1, std::memory_order_release); }
  // At the start of its reaction.
  void Take() const { count_.load(std::memory_order_acquire); }

 private:
  std::atomic<uint32_t> count_{0};
};

// What a call needs of its owner. The functions are thread-safe and return at once.
struct TransferContext {
  v1::TransferService::StubInterface* stub = nullptr;
  // Adds deadline-independent metadata (the claimed identity in plaintext).
  std::function<void(grpc::ClientContext&)> prepare;
  // Size of a message that was sent or received.
  std::function<void(uint64_t encoded_bytes)> moved;
  // Calls `go` (on any thread) when the line may carry a message of this size, or was paid for one; at the latest soon after `hurry` says
  // so. Empty: at once.
  std::function<void(uint64_t encoded_bytes, std::function<bool()> hurry, std::function<void()> go)> pace;
};

absl::Status FromGrpc(const grpc::Status& status);

// A call under way. Its owner keeps it until `done`, which is the last thing that happens to it (on a gRPC thread).
class TransferCall {
 public:
  virtual ~TransferCall() = default;
  // Thread-safe.
  void Cancel() {
    cancelled_.store(true, std::memory_order_relaxed);
    client_context_.TryCancel();
  }
  // Grows while something moves, or could but for the pace.
  uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }

 protected:
  explicit TransferCall(TransferContext context) : context_(std::move(context)) {}
  void CountProgress() { progress_.fetch_add(1, std::memory_order_relaxed); }
  // Does `go` at the pace of the line, at once if there is none. The call must be held meanwhile.
  void Pace(uint64_t encoded_bytes, std::function<void()> go);

  const TransferContext context_;
  grpc::ClientContext client_context_;
  Handoff handoff_;

 private:
  std::atomic<uint64_t> progress_{0};
  std::atomic<bool> cancelled_{false};
};

// Asks for the progress of an upload.
class ProgressCall final : public TransferCall {
 public:
  using Done = std::function<void(absl::StatusOr<v1::UploadProgress>)>;
  ProgressCall(TransferContext context, const v1::UploadId& id, Done done);
  void Start();

 private:
  v1::UploadId id_;
  v1::UploadProgress progress_reply_;
  Done done_;
};

// Sends `payload` from `offset` in frames.
class UploadCall final : public TransferCall, private grpc::ClientWriteReactor<v1::UploadFrame> {
 public:
  using Done = std::function<void(absl::Status)>;
  UploadCall(TransferContext context, v1::UploadHeader header, std::shared_ptr<const std::string> payload, uint64_t offset,
             uint64_t frame_bytes, Done done);
  void Start();

 private:
  void WriteNext();
  void Write();
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  const std::shared_ptr<const std::string> payload_;
  uint64_t offset_;
  const uint64_t frame_bytes_;
  v1::UploadFrame frame_;
  v1::UploadProgress reply_;
  Done done_;
};

// What a download has fetched; survives the call, so that the next one resumes it.
struct PartialDownload {
  v1::DownloadRequest request;  // without offset
  uint64_t total_bytes = 0;     // 0: not known yet
  std::string bytes;
  Sha256Hasher hasher;
};

// Fetches into `partial`. On success its bytes are whole and checked. After DataLoss and FailedPrecondition it must not be resumed.
class DownloadCall final : public TransferCall, private grpc::ClientReadReactor<v1::DownloadFrame> {
 public:
  using Done = std::function<void(absl::Status)>;
  DownloadCall(TransferContext context, std::unique_ptr<PartialDownload> partial, uint64_t max_bytes, Done done);
  void Start();
  // After `done`.
  std::unique_ptr<PartialDownload> TakePartial() { return std::move(partial_); }

 private:
  absl::Status Accept(const v1::DownloadFrame& frame);
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  std::unique_ptr<PartialDownload> partial_;
  const uint64_t max_bytes_;
  v1::DownloadRequest request_;
  v1::DownloadFrame frame_;
  std::string sha256_;
  absl::Status error_;
  Done done_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SESSION_CLIENT_TRANSFER_H_
