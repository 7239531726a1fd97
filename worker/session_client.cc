#include "worker/session_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/channel.h"
#include "common/log.h"
#include "common/request_id.h"
#include "common/worker_secret.h"
#include "google/protobuf/util/message_differencer.h"
#include "proto/wire_limits.h"
#include "tributary/v1/session.grpc.pb.h"
#include "tributary/v1/transfer.grpc.pb.h"
#include "worker/paced_line.h"
#include "worker/session_client_stream.h"
#include "worker/session_client_transfer.h"

namespace tributary::worker {

class SessionClient::Impl {
 public:
  Impl(SessionClientOptions options, SerialExecutor* executor, SessionClientCallbacks callbacks)
      : options_(std::move(options)),
        executor_(executor),
        callbacks_(std::move(callbacks)),
        line_(options_.up_rate, options_.down_rate, executor, options_.clock),
        explainer_("tls") {}

  void OpenSession(uint64_t number);
  std::shared_ptr<const CertificatePair> certificate() const { return certificate_; }
  void Send(uint64_t number, v1::WorkerMessage message);
  void Queue(uint64_t number, v1::WorkerMessage message);
  void CloseSession(uint64_t number);
  void FinishSession(std::function<void()> done);
  void Upload(uint64_t transfer, v1::UploadHeader header, std::shared_ptr<const std::string> payload);
  void Download(uint64_t transfer, v1::DownloadRequest request, uint64_t max_bytes);
  void CancelTransfer(uint64_t transfer);
  void Shutdown();

 private:
  struct Session {
    bool reported = true;                                // false: closed by the owner
    std::shared_ptr<const CertificatePair> certificate;  // null: plaintext
    std::function<void()> when_done;
    std::unique_ptr<SessionStream> stream;
  };
  struct Transfer {
    bool reported = true;  // false: cancelled by the owner
    bool stalled = false;
    std::unique_ptr<TransferCall> call;
  };

  void Prepare(grpc::ClientContext& context) const;
  void Count(ByteDirection direction, ByteKind kind, uint64_t bytes);
  TransferContext ContextFor(ByteDirection direction, ByteKind kind);
  std::shared_ptr<grpc::Channel> MakeChannel(const CertificatePair* certificate) const;
  SessionStreamOwner OwnerOf(uint64_t session);
  void SessionDone(uint64_t number, const absl::Status& status);
  void ReportClosed(uint64_t number, const absl::Status& status, const std::shared_ptr<const CertificatePair>& certificate);
  // Runs `then` on the executor after the call's last moment on gRPC's threads, with the call taken out of transfers_.
  template <typename Result>
  std::function<void(Result)> Finished(uint64_t transfer, std::function<void(Transfer, Result)> then);
  template <typename Call>
  void StartCall(uint64_t transfer, std::unique_ptr<Call> call);
  void WatchProgress(uint64_t transfer, const TransferCall* call, uint64_t seen);
  void Hold();
  void Release();

  const SessionClientOptions options_;
  SerialExecutor* const executor_;
  const SessionClientCallbacks callbacks_;

  // On the executor from here on.
  PacedLine line_;
  // Sessions and transfers stay in their maps until gRPC has let go of them.
  std::map<uint64_t, Session> sessions_;
  std::map<uint64_t, Transfer> transfers_;
  uint64_t current_session_ = 0;
  // Of the current session; older sessions hold their own until they are gone.
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<const CertificatePair> certificate_;  // of channel_; null: plaintext
  std::unique_ptr<v1::TransferService::StubInterface> transfer_stub_;
  // Stubs whose calls may still be under way.
  std::deque<std::unique_ptr<v1::TransferService::StubInterface>> old_stubs_;
  std::unique_ptr<PartialDownload> partial_;
  bool shutting_down_ = false;

  bool shutdown_called_ = false;  // on the owner's thread

  // Of the standard library: ThreadSanitizer does not see into a packaged Abseil.
  std::mutex mutex_;
  std::condition_variable idle_;
  int calls_ = 0;           // guarded by mutex_
  std::string request_id_;  // of the current session and its transfers

  // Asks a server that was refused what it presents, which takes seconds.
  SerialExecutor explainer_;
};

void SessionClient::Impl::Prepare(grpc::ClientContext& context) const {
  context.AddMetadata(kRequestIdKey, request_id_);
  if (!options_.worker_secret.empty()) {
    context.AddMetadata(kWorkerSecretKey, options_.worker_secret);
  }
  if (options_.certificates == nullptr) {
    context.AddMetadata(kInsecureIdentityKey, SpiffeId(options_.identity));
  }
}

void SessionClient::Impl::Count(ByteDirection direction, ByteKind kind, uint64_t bytes) {
  callbacks_.moved(direction, kind, bytes);
}

TransferContext SessionClient::Impl::ContextFor(ByteDirection direction, ByteKind kind) {
  TransferContext context{
      .stub = transfer_stub_.get(),
      .prepare = [this](grpc::ClientContext& context) { Prepare(context); },
      .moved = [this, direction,
                kind](uint64_t bytes) { executor_->Post([this, direction, kind, bytes] { Count(direction, kind, bytes); }); },
      .pace = nullptr};
  if (line_.limited(direction)) {
    context.pace = [this, direction](uint64_t bytes, std::function<bool()> hurry, std::function<void()> go) {
      executor_->Post([this, direction, bytes, hurry = std::move(hurry), go = std::move(go)]() mutable {
        line_.Pace(direction, bytes, std::move(hurry), std::move(go));
      });
    };
  }
  return context;
}

std::shared_ptr<grpc::Channel> SessionClient::Impl::MakeChannel(const CertificatePair* certificate) const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // The engine decides when to try again; every attempt is a fresh connection.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxMessageBytes);
  if (line_.limited(ByteDirection::kDown)) {
    // Otherwise gRPC asks for ever more ahead of what is read, to fill the line.
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 64 << 10);
  }
  return tributary::MakeChannel(options_.coordinator,
                                certificate != nullptr ? MakeChannelCredentials(*certificate) : MakeInsecureChannelCredentials(),
                                options_.route, std::move(arguments));
}

void SessionClient::Impl::Hold() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++calls_;
}

void SessionClient::Impl::Release() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (--calls_ == 0) {
    idle_.notify_all();
  }
}

void SessionClient::Impl::OpenSession(uint64_t number) {
  if (shutting_down_) {
    return;
  }
  CloseSession(current_session_);
  certificate_ = options_.certificates == nullptr ? nullptr : options_.certificates();
  channel_ = MakeChannel(certificate_.get());
  if (transfer_stub_ != nullptr) {
    old_stubs_.push_back(std::move(transfer_stub_));
  }
  if (transfers_.empty()) {
    old_stubs_.clear();
  }
  transfer_stub_ = v1::TransferService::NewStub(channel_);
  current_session_ = number;
  request_id_ = NewRequestId();
  Hold();
  Session& session = sessions_[number];
  session.certificate = certificate_;
  session.stream = std::make_unique<SessionStream>(OwnerOf(number), channel_);
  session.stream->Open();
}

SessionStreamOwner SessionClient::Impl::OwnerOf(uint64_t session) {
  return {.executor = executor_,
          .prepare = [this](grpc::ClientContext& context) { Prepare(context); },
          .moved =
              [this](ByteDirection direction, ByteKind kind, uint64_t bytes) {
                Count(direction, kind, bytes);
                // An update was paid for before it was queued.
                if (kind != ByteKind::kUpdate) {
                  line_.Charge(direction, bytes);
                }
              },
          .message =
              [this, session](v1::CoordinatorMessage message) {
                if (message.has_welcome()) {
                  LogInfo("session", "opened", LogField("request", request_id_));
                }
                if (sessions_.at(session).reported) {
                  callbacks_.message(session, std::move(message));
                }
              },
          .done = [this, session](const absl::Status& status) { SessionDone(session, status); }};
}

void SessionClient::Impl::Send(uint64_t number, v1::WorkerMessage message) {
  if (number != current_session_) {
    return;
  }
  if (message.has_update()) {
    const absl::Duration wait = line_.Take(ByteDirection::kUp, message.ByteSizeLong());
    if (wait > absl::ZeroDuration()) {
      // What is said meanwhile, heartbeats above all, overtakes it.
      executor_->PostAfter(wait, [this, number, message = std::move(message)]() mutable { Queue(number, std::move(message)); });
      return;
    }
  }
  Queue(number, std::move(message));
}

void SessionClient::Impl::Queue(uint64_t number, v1::WorkerMessage message) {
  if (number != current_session_) {
    return;
  }
  if (auto found = sessions_.find(number); found != sessions_.end()) {
    found->second.stream->Send(std::move(message));
  }
}

void SessionClient::Impl::CloseSession(uint64_t number) {
  auto found = sessions_.find(number);
  if (found == sessions_.end()) {
    return;
  }
  found->second.reported = false;
  found->second.stream->Cancel();
  if (number == current_session_) {
    current_session_ = 0;
  }
}

void SessionClient::Impl::FinishSession(std::function<void()> done) {
  auto found = sessions_.find(current_session_);
  if (found == sessions_.end()) {
    return done();
  }
  Session& session = found->second;
  session.reported = false;
  session.when_done = std::move(done);
  session.stream->Finish();
  executor_->PostAfter(options_.finish_timeout, [this, number = current_session_] { CloseSession(number); });
}

void SessionClient::Impl::SessionDone(uint64_t number, const absl::Status& status) {
  auto found = sessions_.find(number);
  const Session ended = std::move(found->second);
  sessions_.erase(found);
  if (number == current_session_) {
    current_session_ = 0;
  }
  if (ended.reported && !shutting_down_) {
    ReportClosed(number, status, ended.certificate);
  }
  if (ended.when_done) {
    ended.when_done();
  }
  Release();
}

void SessionClient::Impl::ReportClosed(uint64_t number, const absl::Status& status,
                                       const std::shared_ptr<const CertificatePair>& certificate) {
  Hold();
  explainer_.Post([this, number, status, certificate] {
    executor_->Post([this, number, explained = ExplainConnectionFailure(status, options_.coordinator, options_.route, certificate.get())] {
      if (!shutting_down_) {
        callbacks_.closed(number, explained);
      }
      Release();
    });
  });
}

template <typename Result>
std::function<void(Result)> SessionClient::Impl::Finished(uint64_t transfer, std::function<void(Transfer, Result)> then) {
  return [this, transfer, then = std::move(then)](Result result) {
    executor_->Post([this, transfer, then, result = std::move(result)]() mutable {
      auto found = transfers_.find(transfer);
      Transfer ended = std::move(found->second);
      transfers_.erase(found);
      if (ended.stalled) {
        result = absl::DeadlineExceededError(absl::StrCat("nothing moved for ", absl::FormatDuration(options_.progress_timeout)));
      }
      then(std::move(ended), std::move(result));
      Release();
    });
  };
}

template <typename Call>
void SessionClient::Impl::StartCall(uint64_t transfer, std::unique_ptr<Call> call) {
  Call* const started = call.get();
  transfers_[transfer].call = std::move(call);
  Hold();
  started->Start();
  WatchProgress(transfer, started, started->progress());
}

void SessionClient::Impl::WatchProgress(uint64_t transfer, const TransferCall* call, uint64_t seen) {
  executor_->PostAfter(options_.progress_timeout, [this, transfer, call, seen] {
    auto found = transfers_.find(transfer);
    if (found == transfers_.end() || found->second.call.get() != call) {
      return;
    }
    if (call->progress() != seen) {
      return WatchProgress(transfer, call, call->progress());
    }
    found->second.stalled = true;
    found->second.call->Cancel();
  });
}

void SessionClient::Impl::Upload(uint64_t transfer, v1::UploadHeader header, std::shared_ptr<const std::string> payload) {
  if (shutting_down_) {
    return;
  }
  if (channel_ == nullptr) {
    return callbacks_.uploaded(transfer, absl::FailedPreconditionError("no session is open"), 0);
  }
  const v1::UploadId id = header.id();
  auto asked = Finished<absl::StatusOr<v1::UploadProgress>>(
      transfer, [this, transfer, header = std::move(header), payload](Transfer ended, absl::StatusOr<v1::UploadProgress> progress) {
        if (!ended.reported || shutting_down_) {
          return;
        }
        if (!progress.ok()) {
          return callbacks_.uploaded(transfer, progress.status(), 0);
        }
        const uint64_t held = progress->received_bytes();
        if (progress->complete()) {
          return callbacks_.uploaded(transfer, absl::OkStatus(), held);
        }
        if (held > payload->size()) {
          return callbacks_.uploaded(
              transfer, absl::InternalError(absl::StrCat("the coordinator claims to hold ", held, " of ", payload->size(), " bytes")), 0);
        }
        // What this call brings there, only the next attempt can learn.
        auto sent = Finished<absl::Status>(transfer, [this, transfer, held](Transfer ended, absl::Status status) {
          if (ended.reported) {
            callbacks_.uploaded(transfer, std::move(status), held);
          }
        });
        StartCall(transfer, std::make_unique<UploadCall>(ContextFor(ByteDirection::kUp, ByteKind::kUpdate), header, payload, held,
                                                         line_.FrameBytes(options_.frame_bytes), std::move(sent)));
      });
  StartCall(transfer, std::make_unique<ProgressCall>(ContextFor(ByteDirection::kUp, ByteKind::kControl), id, std::move(asked)));
}

void SessionClient::Impl::Download(uint64_t transfer, v1::DownloadRequest request, uint64_t max_bytes) {
  if (shutting_down_) {
    return;
  }
  if (channel_ == nullptr) {
    return callbacks_.downloaded(transfer, absl::FailedPreconditionError("no session is open"), 0);
  }
  request.clear_offset();
  std::unique_ptr<PartialDownload> partial = std::move(partial_);
  if (partial == nullptr || !google::protobuf::util::MessageDifferencer::Equals(partial->request, request)) {
    partial = std::make_unique<PartialDownload>();
    partial->request = std::move(request);
  }
  const ByteKind kind = partial->request.has_commits() ? ByteKind::kCommit : ByteKind::kSnapshot;
  auto fetched = Finished<absl::Status>(transfer, [this, transfer](Transfer ended, absl::Status status) {
    std::unique_ptr<PartialDownload> partial = static_cast<DownloadCall&>(*ended.call).TakePartial();
    const uint64_t arrived = partial->bytes.size();
    if (status.ok()) {
      if (ended.reported) {
        callbacks_.downloaded(transfer, std::move(partial->bytes), arrived);
      }
      return;
    }
    const bool resumable = status.code() != absl::StatusCode::kDataLoss && status.code() != absl::StatusCode::kFailedPrecondition &&
                           status.code() != absl::StatusCode::kOutOfRange && status.code() != absl::StatusCode::kNotFound;
    if (resumable) {
      partial_ = std::move(partial);
    }
    if (ended.reported) {
      callbacks_.downloaded(transfer, std::move(status), arrived);
    }
  });
  StartCall(transfer,
            std::make_unique<DownloadCall>(ContextFor(ByteDirection::kDown, kind), std::move(partial), max_bytes, std::move(fetched)));
}

void SessionClient::Impl::CancelTransfer(uint64_t transfer) {
  auto found = transfers_.find(transfer);
  if (found == transfers_.end()) {
    return;
  }
  found->second.reported = false;
  found->second.call->Cancel();
}

void SessionClient::Impl::Shutdown() {
  if (std::exchange(shutdown_called_, true)) {
    return;
  }
  Hold();  // for the work posted here
  executor_->Post([this] {
    shutting_down_ = true;
    for (auto& [number, session] : sessions_) {
      session.stream->Cancel();
    }
    for (auto& [number, transfer] : transfers_) {
      transfer.reported = false;
      transfer.call->Cancel();
    }
    Release();
  });
  std::unique_lock<std::mutex> lock(mutex_);
  idle_.wait(lock, [this] { return calls_ == 0; });
}

SessionClient::SessionClient(SessionClientOptions options, SerialExecutor* executor, SessionClientCallbacks callbacks)
    : impl_(std::make_unique<Impl>(std::move(options), executor, std::move(callbacks))) {}
SessionClient::~SessionClient() = default;

void SessionClient::OpenSession(uint64_t session) {
  impl_->OpenSession(session);
}
std::shared_ptr<const CertificatePair> SessionClient::certificate() const {
  return impl_->certificate();
}
void SessionClient::Send(uint64_t session, v1::WorkerMessage message) {
  impl_->Send(session, std::move(message));
}
void SessionClient::CloseSession(uint64_t session) {
  impl_->CloseSession(session);
}
void SessionClient::FinishSession(std::function<void()> done) {
  impl_->FinishSession(std::move(done));
}
void SessionClient::Upload(uint64_t transfer, v1::UploadHeader header, std::shared_ptr<const std::string> payload) {
  impl_->Upload(transfer, std::move(header), std::move(payload));
}
void SessionClient::Download(uint64_t transfer, v1::DownloadRequest request, uint64_t max_bytes) {
  impl_->Download(transfer, std::move(request), max_bytes);
}
void SessionClient::CancelTransfer(uint64_t transfer) {
  impl_->CancelTransfer(transfer);
}
void SessionClient::Shutdown() {
  impl_->Shutdown();
}

}  // namespace tributary::worker
