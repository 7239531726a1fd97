#include "coordinator/rpc/session_service.h"

#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/request_id.h"
#include "common/tls.h"
#include "common/wire_size.h"
#include "coordinator/rpc/grpc_status.h"
#include "proto/audit/signed_update.h"

namespace tributary::coordinator {
namespace {

using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// A call that was refused before it began.
class RefusedCall final : public Reactor {
 public:
  explicit RefusedCall(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

// One stream. Created by Open(), frees itself after OnDone, on the executor.
class SessionService::Session final : public Reactor, public SessionSink {
 public:
  Session(SessionService* service, grpc::CallbackServerContext* context, std::string site)
      : service_(service),
        context_(context),
        site_(std::move(site)),
        origin_{service->AddressOf(*context), Authorisation::WorkerSecretOf(*context)},
        self_(this) {
    const std::optional<Peer> peer = service->authorisation_->PeerOf(*context);
    certificates_ = peer.has_value() ? peer->certificates : nullptr;
    const bool has_certificate = peer.has_value() && !peer->uris.empty();
    connection_ = peer.has_value() ? peer->connection : 0;
    Post([this, validity = has_certificate ? std::make_optional(peer->validity) : std::nullopt] { Opened(validity); });
  }

  // On the executor. Whether it is still on the list; if not, it is closed.
  bool CheckListed() {
    const absl::Status listed = service_->authorisation_->Listed(site_);
    if (!listed.ok()) {
      LogInfo("session", "closed, for the site is off the list", LogField("site", site_));
      ReportClosed();
      Close(listed);
    }
    return listed.ok();
  }

  // Reactions. gRPC may run them on any of its threads, several at once.
  void OnReadDone(bool ok) override {
    const auto received = std::make_shared<Received>();
    if (ok) {
      received->bytes = WireSize(incoming_.Length());
      received->parsed = grpc::SerializationTraits<v1::WorkerMessage>::Deserialize(&incoming_, &received->message).ok();
      if (received->message.has_update()) {
        received->proof = ProofOf(received->message.update());
      }
    }
    Post([this, ok, received] { ok ? Take(*received) : Ended(); });
  }
  void OnWriteDone(bool ok) override {
    Post([this, ok] { WriteDone(ok); });
  }
  void OnCancel() override {
    Post([this] { Cancelled(); });
  }
  // The last reaction: what was posted before has this object still, and nothing comes after.
  void OnDone() override {
    Post([this] { Done(); });
  }

  // SessionSink, on the executor.
  void Send(std::shared_ptr<const v1::CoordinatorMessage> message) override {
    if (closing_.has_value()) {
      return;
    }
    const ByteKind kind = message->has_commit() ? ByteKind::kCommit : ByteKind::kControl;
    Outgoing outgoing{service_->Encode(message), kind};
    const uint64_t bytes = outgoing.buffer.Length();
    if (queued_bytes_ + bytes > service_->options_.max_queued_bytes) {
      queue_.clear();
      queued_bytes_ = 0;
      const std::string reason = absl::StrCat("the site reads too slowly: more than ", service_->options_.max_queued_bytes,
                                              " bytes are queued for it; it catches up when it reconnects");
      LogWarning("session", reason, LogField("site", site_));
      Close(absl::ResourceExhaustedError(reason));
      // Not from here: the coordinator is in the middle of a broadcast.
      Post([this] { ReportClosed(); });
      return;
    }
    queued_bytes_ += bytes;
    queue_.push_back(std::move(outgoing));
    Pump();
  }

  void Close(const absl::Status& status) override {
    if (closing_.has_value()) {
      return;
    }
    closing_ = status;
    Pump();
    if (!finished_) {
      // A peer that does not read would hold the stream open without end.
      service_->executor_->PostAfter(service_->options_.close_grace, [weak = std::weak_ptr<Session>(self_)] {
        if (const std::shared_ptr<Session> session = weak.lock(); session != nullptr) {
          session->Abandon();
        }
      });
    }
  }

 private:
  struct Outgoing {
    grpc::ByteBuffer buffer;
    ByteKind kind;
  };
  // A message, looked at as far as it can be on gRPC's thread: checking a signature takes longer than everything else that an update of a
  // small model costs.
  struct Received {
    bool parsed = false;
    v1::WorkerMessage message;
    uint64_t bytes = 0;
    UpdateProof proof;
  };

  // On any thread: what it reads never changes.
  UpdateProof ProofOf(const v1::Update& update) const {
    if (!update.has_signature() || certificates_ == nullptr) {
      return {};
    }
    return CheckUpdate({.federation = service_->authorisation_->federation(),
                        .site = site_,
                        .run_id = update.run_id(),
                        .round = update.round(),
                        .base_state_hash = update.base_state_hash(),
                        .payload_sha256 = DigestBytes(Sha256(update.payload()))},
                       update.signature(), certificates_);
  }

  template <typename Work>
  void Post(Work work) {
    service_->executor_->Post(std::move(work));
  }

  void Opened(const std::optional<Validity>& validity) {
    service_->sessions_.insert(this);
    // The list may have changed since the call came in.
    if (!CheckListed()) {
      return;
    }
    if (validity.has_value() && service_->options_.certificate_seen) {
      service_->options_.certificate_seen(site_, *validity);
    }
    opened_ = true;
    service_->coordinator_->SessionOpened(site_, this, origin_);
    if (!closing_.has_value()) {
      carries_ = true;
      const std::lock_guard<std::mutex> lock(service_->carriers_mutex_);
      service_->carriers_.insert(connection_);
    }
    Read();
  }

  // Back-pressure: the next message is asked for once the one before is dealt with.
  void Read() {
    if (!closing_.has_value()) {
      StartRead(&incoming_);
    }
  }

  void Ended() {
    ReportClosed();
    Close(absl::OkStatus());
  }

  void Take(Received& received) {
    if (closing_.has_value()) {
      return;
    }
    if (!service_->messages_.try_emplace(site_, service_->options_.messages).first->second.Take(Clock::Real().Now())) {
      LogWarning("session", "closed: the site sends more messages than any worker does", LogField("site", site_));
      if (service_->options_.over_rate != nullptr) {
        service_->options_.over_rate(site_);
      }
      ReportClosed();
      Close(absl::ResourceExhaustedError(
          absl::StrCat("more than ", service_->options_.messages.per_second, " messages a second of one site; try again later")));
      return;
    }
    if (!received.parsed) {
      ReportClosed();
      Close(absl::InvalidArgumentError("received something other than a WorkerMessage; does the worker run another version?"));
      return;
    }
    service_->coordinator_->MessageReceived(site_, this, std::move(received.message), received.bytes, std::move(received.proof));
    Read();
  }

  void WriteDone(bool ok) {
    writing_ = false;
    if (!ok) {
      queue_.clear();
      ReportClosed();
      Close(absl::UnavailableError("the connection broke"));
    }
    Pump();
  }

  void Cancelled() {
    queue_.clear();
    ReportClosed();
    Close(absl::CancelledError("the connection broke"));
  }

  // Starts the next write; when all is written and the session is being closed, ends the stream.
  void Pump() {
    if (writing_ || finished_) {
      return;
    }
    if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      const uint64_t bytes = current_.buffer.Length();
      queued_bytes_ -= bytes;
      writing_ = true;
      service_->coordinator_->CountBytes(site_, ByteDirection::kDown, current_.kind, WireSize(bytes));
      StartWrite(&current_.buffer);
    } else if (closing_.has_value()) {
      finished_ = true;
      Finish(ToGrpcStatus(*closing_));
    }
  }

  // The grace is over. Once Finish has been called gRPC may free the context at any moment, and nothing is left to cancel.
  void Abandon() {
    if (finished_) {
      return;
    }
    queue_.clear();
    finished_ = true;
    context_->TryCancel();
    Finish(ToGrpcStatus(*closing_));
  }

  void ReportClosed() {
    if (opened_) {
      opened_ = false;
      service_->coordinator_->SessionClosed(site_, this);
    }
    if (std::exchange(carries_, false)) {
      const std::lock_guard<std::mutex> lock(service_->carriers_mutex_);
      service_->carriers_.erase(service_->carriers_.find(connection_));
    }
  }

  void Done() {
    ReportClosed();
    service_->sessions_.erase(this);
    self_.reset();
  }

  SessionService* const service_;
  grpc::CallbackServerContext* const context_;  // valid until Finish is called
  const std::string site_;
  const SessionOrigin origin_;
  uint64_t connection_ = 0;
  Certificates certificates_;  // of the site; null: plaintext. Never changes
  std::shared_ptr<Session> self_;

  grpc::ByteBuffer incoming_;
  std::deque<Outgoing> queue_;
  uint64_t queued_bytes_ = 0;
  Outgoing current_;  // being written
  bool writing_ = false;
  bool opened_ = false;    // the coordinator knows of it
  bool carries_ = false;   // its connection is among service_->carriers_
  bool finished_ = false;  // Finish was called
  std::optional<absl::Status> closing_;
};

SessionService::SessionService(Coordinator* coordinator, SerialExecutor* executor, const Authorisation* authorisation,
                               const Options& options)
    : coordinator_(coordinator), executor_(executor), authorisation_(authorisation), options_(options) {}
SessionService::~SessionService() = default;

bool SessionService::RunsOn(uint64_t connection) const {
  const std::lock_guard<std::mutex> lock(carriers_mutex_);
  return carriers_.contains(connection);
}

Reactor* SessionService::Open(grpc::CallbackServerContext* context) {
  absl::StatusOr<std::string> site = authorisation_->Site(*context);
  if (!site.ok()) {
    return new RefusedCall(site.status());
  }
  if (refusing_) {
    return new RefusedCall(absl::UnavailableError("the coordinator is shutting down; reconnect later"));
  }
  LogInfo("session", "opens from ", AddressOf(*context), LogField("site", *site), LogField("request", RequestIdOf(*context)));
  return new Session(this, context, *std::move(site));
}

std::string SessionService::AddressOf(const grpc::CallbackServerContext& context) const {
  const std::optional<Peer> peer = authorisation_->PeerOf(context);
  return peer.has_value() ? peer->address : "a connection that is gone";
}

void SessionService::CloseAll(const absl::Status& status) {
  // A session leaves the set in a later piece of work, so the set does not change here; a copy does not depend on that.
  for (Session* const session : std::vector<Session*>(sessions_.begin(), sessions_.end())) {
    session->Close(status);
  }
}

void SessionService::CloseUnlisted() {
  for (Session* const session : std::vector<Session*>(sessions_.begin(), sessions_.end())) {
    session->CheckListed();
  }
}

const grpc::ByteBuffer& SessionService::Encode(const std::shared_ptr<const v1::CoordinatorMessage>& message) {
  if (message != encoded_message_) {
    bool own_buffer = false;
    grpc::ByteBuffer buffer;
    grpc::SerializationTraits<v1::CoordinatorMessage>::Serialize(*message, &buffer, &own_buffer);
    encoded_ = buffer;
    encoded_message_ = message;
  }
  return encoded_;
}

}  // namespace tributary::coordinator
