#include "coordinator/rpc/transfer_service.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/wire_size.h"
#include "coordinator/rpc/grpc_status.h"

namespace tributary::coordinator {
namespace {

constexpr uint64_t kMaxFrameBytes = uint64_t{1} << 20;
constexpr size_t kDigestBytes = 32;
constexpr int kDownloadDataField = 3;  // DownloadFrame.data

bool SameUpload(const v1::UploadId& a, const v1::UploadId& b) {
  return a.run_id() == b.run_id() && a.round() == b.round() && a.sha256() == b.sha256();
}

// What can be said of a header without knowing the run.
absl::Status CheckHeader(const v1::UploadHeader& header) {
  if (header.id().sha256().size() != kDigestBytes) {
    return absl::InvalidArgumentError("upload: the SHA-256 of the payload has 32 bytes");
  }
  if (header.total_bytes() == 0) {
    return absl::InvalidArgumentError("upload: total_bytes is 0");
  }
  return absl::OkStatus();
}

class RefusedUpload final : public grpc::ServerReadReactor<v1::UploadFrame> {
 public:
  explicit RefusedUpload(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

class RefusedDownload final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  explicit RefusedDownload(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

void AppendVarint(uint64_t value, std::string& out) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

// An encoded DownloadFrame whose data is not copied: protobuf's fields may come in any order, so `data` goes last, as a slice of `bytes`.
grpc::ByteBuffer EncodeFrame(const v1::DownloadFrame& without_data, const SharedBytes& bytes, uint64_t offset, uint64_t length) {
  std::string head = without_data.SerializeAsString();
  if (length == 0) {
    const grpc::Slice slice(head);
    return grpc::ByteBuffer(&slice, 1);
  }
  head.push_back(static_cast<char>(kDownloadDataField << 3 | 2));
  AppendVarint(length, head);
  const grpc::Slice slices[] = {
      grpc::Slice(head),
      grpc::Slice(
          const_cast<char*>(bytes->data()) + offset, length, [](void* shared) { delete static_cast<SharedBytes*>(shared); },
          new SharedBytes(bytes)),
  };
  return grpc::ByteBuffer(slices, 2);
}

}  // namespace

// One Upload stream. Frees itself after OnDone, on the bulk executor.
class TransferService::UploadCall final : public grpc::ServerReadReactor<v1::UploadFrame> {
 public:
  UploadCall(TransferService* service, std::string site, v1::UploadProgress* response)
      : service_(service), site_(std::move(site)), response_(response) {
    service_->bulk_.Post([this] {
      service_->uploads_.insert(this);
      StartRead(&frame_);
    });
  }

  void OnReadDone(bool ok) override {
    service_->bulk_.Post([this, ok] { ReadDone(ok); });
  }
  void OnCancel() override {
    service_->bulk_.Post([this] { End(absl::CancelledError("the connection broke; resume the upload")); });
  }
  void OnDone() override {
    service_->bulk_.Post([this] { Done(); });
  }

  // On the bulk executor.
  const std::string& site() const { return site_; }
  const v1::UploadHeader& header() const { return header_; }
  bool ended() const { return ended_; }
  // Made no progress although it was its turn: while it waits for room or for the coordinator's answer it is not.
  bool Idle() {
    const bool its_turn = !asking_ && std::find(service_->waiting_.begin(), service_->waiting_.end(), this) == service_->waiting_.end();
    idle_sweeps_ = its_turn ? idle_sweeps_ + 1 : 0;
    return idle_sweeps_ > service_->options_.max_idle_sweeps;
  }

  // There is room: goes on with the frame that came with the header.
  void Admitted(Spool* spool) {
    spool_ = spool;
    spool_->owner = this;
    Take();
  }

  // Ends the call; the spool stays for a later one to resume.
  void End(const absl::Status& status) {
    if (ended_) {
      return;
    }
    ended_ = true;
    Release();
    if (!asking_) {
      Finish(ToGrpcStatus(status));
    } else {
      // The coordinator is being asked; its answer comes to this object.
      pending_end_ = status;
    }
  }

  // A newer stream of the site takes the spool over.
  void Replaced() { End(absl::AbortedError("replaced by a newer upload of the same site")); }

 private:
  void ReadDone(bool ok) {
    if (ended_) {
      return;
    }
    if (!ok) {
      End(absl::InvalidArgumentError(absl::StrCat("the upload broke off at byte ", spool_ == nullptr ? 0 : spool_->payload.size(),
                                                  "; ask for its progress and resume it")));
      return;
    }
    idle_sweeps_ = 0;
    service_->executor_->Post([coordinator = service_->coordinator_, site = site_, bytes = WireSize(frame_.ByteSizeLong())] {
      coordinator->CountBytes(site, ByteDirection::kUp, ByteKind::kUpdate, bytes);
    });
    if (spool_ != nullptr) {
      Take();
    } else {
      Begin();
    }
  }

  // The first frame: its header is checked by the coordinator before anything is kept of it.
  void Begin() {
    if (!frame_.has_header()) {
      End(absl::InvalidArgumentError("upload: the first frame has no header"));
      return;
    }
    header_ = frame_.header();
    if (const absl::Status status = CheckHeader(header_); !status.ok()) {
      End(status);
      return;
    }
    if (const auto done = service_->completed_.find(site_); done != service_->completed_.end() && SameUpload(done->second, header_.id())) {
      // The answer to the first time was lost.
      Succeed();
      return;
    }
    Ask([this] { return service_->coordinator_->CheckUpload(site_, header_); },
        [this](const absl::Status& status) {
          if (status.ok()) {
            service_->Admit(this);
          } else {
            End(status);
          }
        });
  }

  // Takes the frame into the spool.
  void Take() {
    const uint64_t received = spool_->payload.size();
    const std::string& data = frame_.data();
    const uint64_t total = header_.total_bytes();
    if (frame_.offset() != received) {
      End(absl::OutOfRangeError(absl::StrCat("upload: frame at offset ", frame_.offset(), ", but ", received, " bytes have arrived")));
    } else if (data.size() > kMaxFrameBytes) {
      End(absl::InvalidArgumentError(absl::StrCat("upload: a frame of ", data.size(), " bytes; at most ", kMaxFrameBytes, " are allowed")));
    } else if (data.size() > total - received) {
      End(absl::InvalidArgumentError(absl::StrCat("upload: more data than the ", total, " bytes that the header names")));
    } else if (data.empty() && received < total && !frame_.has_header()) {
      End(absl::InvalidArgumentError("upload: a frame without data"));
    } else if (Crc32c(data) != frame_.crc32c()) {
      End(absl::DataLossError(absl::StrCat("upload: the frame at offset ", received, " fails its CRC-32C; send it again")));
    } else {
      spool_->payload.append(data);
      spool_->hasher.Update(data);
      spool_->idle_sweeps = 0;
      if (spool_->payload.size() < total) {
        StartRead(&frame_);
      } else {
        Complete();
      }
    }
  }

  void Complete() {
    const bool intact = DigestBytes(spool_->hasher.Finish()) == header_.id().sha256();
    std::string payload = std::move(spool_->payload);
    spool_->owner = nullptr;
    spool_ = nullptr;
    // Its bytes still count until the coordinator has taken them.
    service_->spools_.erase(site_);
    if (!intact) {
      service_->spooled_bytes_ -= header_.total_bytes();
      service_->AdmitWaiting();
      End(absl::DataLossError("upload: the whole fails its SHA-256; send it again from the start"));
      return;
    }
    Ask([this, moved = std::make_shared<std::string>(
                   std::move(payload))] { return service_->coordinator_->UploadCompleted(site_, header_, std::move(*moved)); },
        [this](const absl::Status& status) {
          service_->spooled_bytes_ -= header_.total_bytes();
          service_->AdmitWaiting();
          if (status.ok()) {
            service_->completed_[site_] = header_.id();
            Succeed();
          } else {
            End(status);
          }
        });
  }

  void Succeed() {
    if (ended_) {
      return;
    }
    response_->set_received_bytes(header_.total_bytes());
    response_->set_complete(true);
    End(absl::OkStatus());
  }

  // Runs `question` on the coordinator's executor and `answer` with its result here. Whatever happens to the call meanwhile, it is not
  // finished before the answer is in, so that this object is there for it.
  template <typename Question, typename Answer>
  void Ask(Question question, Answer answer) {
    asking_ = true;
    service_->executor_->Post([this, question = std::move(question), answer = std::move(answer)] {
      const absl::Status status = question();
      service_->bulk_.Post([this, status, answer] {
        asking_ = false;
        answer(status);
        if (pending_end_.has_value()) {
          Finish(ToGrpcStatus(*std::exchange(pending_end_, std::nullopt)));
        }
      });
    });
  }

  void Release() {
    if (spool_ != nullptr) {
      spool_->owner = nullptr;
      spool_ = nullptr;
    }
    std::erase(service_->waiting_, this);
  }

  void Done() {
    service_->uploads_.erase(this);
    delete this;
  }

  TransferService* const service_;
  const std::string site_;
  v1::UploadProgress* const response_;
  v1::UploadFrame frame_;
  v1::UploadHeader header_;
  Spool* spool_ = nullptr;
  bool asking_ = false;
  bool ended_ = false;
  std::optional<absl::Status> pending_end_;
  int idle_sweeps_ = 0;
};

// One Download stream. Frees itself after OnDone, on the bulk executor.
class TransferService::DownloadCall final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  DownloadCall(TransferService* service, grpc::CallbackServerContext* context, Identity caller, v1::DownloadRequest request)
      : service_(service), context_(context), caller_(std::move(caller)), key_(SpiffeId(caller_)), request_(std::move(request)) {
    service_->bulk_.Post([this] { Begin(); });
  }

  void OnWriteDone(bool ok) override {
    service_->bulk_.Post([this, ok] { WriteDone(ok); });
  }
  void OnCancel() override {
    service_->bulk_.Post([this] { End(absl::CancelledError("the connection broke; resume the download")); });
  }
  void OnDone() override {
    service_->bulk_.Post([this] { Done(); });
  }

  // On the bulk executor. A peer that does not read is not waited for for ever.
  void Sweep() {
    if (++idle_sweeps_ > service_->options_.max_idle_sweeps && !finished_ && !asking_) {
      ended_ = true;
      context_->TryCancel();
      FinishWith(absl::DeadlineExceededError("the download made no progress; resume it"));
    }
  }

 private:
  void Begin() {
    service_->downloads_.insert(this);
    if (++service_->downloads_by_caller_[key_] > service_->options_.max_downloads) {
      End(absl::ResourceExhaustedError(absl::StrCat(key_, " has ", service_->options_.max_downloads, " downloads open already")));
      return;
    }
    asking_ = true;
    service_->executor_->Post([this] {
      absl::StatusOr<SharedBytes> bytes = service_->coordinator_->OpenDownload(request_, caller_.role == Role::kOperator);
      service_->bulk_.Post([this, bytes = std::move(bytes)] {
        asking_ = false;
        Opened(bytes);
      });
    });
  }

  void Opened(const absl::StatusOr<SharedBytes>& bytes) {
    if (ended_) {
      TryFinish();
      return;
    }
    if (!bytes.ok()) {
      End(bytes.status());
      return;
    }
    bytes_ = *bytes;
    offset_ = request_.offset();
    if (offset_ > bytes_->size()) {
      End(absl::OutOfRangeError(absl::StrCat("download: offset ", offset_, " of ", bytes_->size(), " bytes")));
      return;
    }
    digest_ = DigestBytes(service_->DigestOf(bytes_));
    WriteFrame();
  }

  void WriteFrame() {
    const uint64_t length = std::min(service_->options_.frame_bytes, bytes_->size() - offset_);
    v1::DownloadFrame frame;
    frame.set_total_bytes(bytes_->size());
    frame.set_offset(offset_);
    frame.set_crc32c(Crc32c(absl::string_view(*bytes_).substr(offset_, length)));
    last_ = offset_ + length == bytes_->size();
    if (last_) {
      frame.set_sha256(digest_);
    }
    buffer_ = EncodeFrame(frame, bytes_, offset_, length);
    offset_ += length;
    writing_ = true;
    if (caller_.role == Role::kSite) {
      const ByteKind kind = request_.has_commits() ? ByteKind::kCommit : ByteKind::kSnapshot;
      service_->executor_->Post([coordinator = service_->coordinator_, site = caller_.name, kind, bytes = WireSize(buffer_.Length())] {
        coordinator->CountBytes(site, ByteDirection::kDown, kind, bytes);
      });
    }
    StartWrite(&buffer_);
  }

  void WriteDone(bool ok) {
    writing_ = false;
    idle_sweeps_ = 0;
    if (!ok) {
      End(absl::UnavailableError("the connection broke; resume the download"));
    } else if (!ended_ && last_) {
      End(absl::OkStatus());
    } else if (!ended_) {
      WriteFrame();
    }
    TryFinish();
  }

  void End(const absl::Status& status) {
    if (!ended_) {
      ended_ = true;
      status_ = status;
    }
    TryFinish();
  }

  void TryFinish() {
    if (ended_ && !writing_ && !asking_ && !finished_) {
      FinishWith(status_);
    }
  }

  // No longer counts as open before its caller can know that it is over, and perhaps begin the next.
  void FinishWith(const absl::Status& status) {
    finished_ = true;
    if (--service_->downloads_by_caller_[key_] == 0) {
      service_->downloads_by_caller_.erase(key_);
    }
    Finish(ToGrpcStatus(status));
  }

  void Done() {
    service_->downloads_.erase(this);
    delete this;
  }

  TransferService* const service_;
  grpc::CallbackServerContext* const context_;  // valid until Finish is called
  const Identity caller_;
  const std::string key_;
  const v1::DownloadRequest request_;
  SharedBytes bytes_;
  std::string digest_;
  uint64_t offset_ = 0;
  grpc::ByteBuffer buffer_;
  bool last_ = false;
  bool writing_ = false;
  bool asking_ = false;
  bool ended_ = false;     // nothing more will be written
  bool finished_ = false;  // Finish was called
  absl::Status status_;
  int idle_sweeps_ = 0;
};

TransferService::TransferService(Coordinator* coordinator, SerialExecutor* executor, const Registry* registry, const Options& options)
    : coordinator_(coordinator), executor_(executor), registry_(registry), options_(options) {
  bulk_.PostAfter(options_.sweep_interval, [this] { Sweep(); });
}

TransferService::~TransferService() {
  bulk_.Stop();
}

grpc::ServerUnaryReactor* TransferService::GetUploadProgress(grpc::CallbackServerContext* context, const v1::UploadId* request,
                                                             v1::UploadProgress* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  absl::StatusOr<std::string> site = registry_->Site(*context);
  if (!site.ok()) {
    reactor->Finish(ToGrpcStatus(site.status()));
    return reactor;
  }
  executor_->Post([coordinator = coordinator_, site = *site, bytes = WireSize(request->ByteSizeLong())] {
    coordinator->CountBytes(site, ByteDirection::kUp, ByteKind::kControl, bytes);
  });
  bulk_.Post([this, reactor, request, response, site = *std::move(site)] {
    if (const auto found = spools_.find(site); found != spools_.end() && SameUpload(found->second->header.id(), *request)) {
      response->set_received_bytes(found->second->payload.size());
    } else if (const auto done = completed_.find(site); done != completed_.end() && SameUpload(done->second, *request)) {
      response->set_complete(true);
    }
    executor_->Post([coordinator = coordinator_, site, bytes = WireSize(response->ByteSizeLong())] {
      coordinator->CountBytes(site, ByteDirection::kDown, ByteKind::kControl, bytes);
    });
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerReadReactor<v1::UploadFrame>* TransferService::Upload(grpc::CallbackServerContext* context, v1::UploadProgress* response) {
  absl::StatusOr<std::string> site = registry_->Site(*context);
  if (!site.ok()) {
    return new RefusedUpload(site.status());
  }
  return new UploadCall(this, *std::move(site), response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* TransferService::Download(grpc::CallbackServerContext* context,
                                                                      const grpc::ByteBuffer* request) {
  absl::StatusOr<Identity> caller = registry_->SiteOrOperator(*context);
  if (!caller.ok()) {
    return new RefusedDownload(caller.status());
  }
  // Deserialize consumes its buffer; a copy shares the bytes.
  grpc::ByteBuffer encoded = *request;
  v1::DownloadRequest decoded;
  if (!grpc::SerializationTraits<v1::DownloadRequest>::Deserialize(&encoded, &decoded).ok()) {
    return new RefusedDownload(absl::InvalidArgumentError("what arrived is not a DownloadRequest"));
  }
  return new DownloadCall(this, context, *std::move(caller), std::move(decoded));
}

void TransferService::Admit(UploadCall* call) {
  if (call->ended()) {
    return;
  }
  const v1::UploadHeader& header = call->header();
  if (const auto found = spools_.find(call->site()); found != spools_.end()) {
    Spool& spool = *found->second;
    if (spool.owner != nullptr) {
      spool.owner->Replaced();
    }
    if (SameUpload(spool.header.id(), header.id()) && spool.header.total_bytes() == header.total_bytes()) {
      call->Admitted(&spool);
      return;
    }
    DropSpool(call->site());
  }
  // An older call of the site that still waits would make a second spool.
  for (UploadCall* const other : std::vector<UploadCall*>(waiting_.begin(), waiting_.end())) {
    if (other != call && other->site() == call->site()) {
      other->Replaced();
    }
  }
  if (!MakeRoom(header.total_bytes())) {
    if (std::find(waiting_.begin(), waiting_.end(), call) == waiting_.end()) {
      waiting_.push_back(call);
    }
    return;
  }
  std::erase(waiting_, call);
  auto spool = std::make_unique<Spool>();
  spool->header = header;
  spool->payload.reserve(header.total_bytes());
  spooled_bytes_ += header.total_bytes();
  Spool* const kept = spool.get();
  spools_[call->site()] = std::move(spool);
  call->Admitted(kept);
}

// Whether `bytes` more fit, after dropping partial uploads that nobody is filling, the longest idle first.
bool TransferService::MakeRoom(uint64_t bytes) {
  while (spooled_bytes_ > 0 && (spooled_bytes_ >= options_.max_spool_bytes || bytes > options_.max_spool_bytes - spooled_bytes_)) {
    auto oldest = spools_.end();
    for (auto it = spools_.begin(); it != spools_.end(); ++it) {
      if (it->second->owner == nullptr && (oldest == spools_.end() || it->second->idle_sweeps > oldest->second->idle_sweeps)) {
        oldest = it;
      }
    }
    if (oldest == spools_.end()) {
      return false;
    }
    DropSpool(std::string(oldest->first));
  }
  return true;
}

void TransferService::AdmitWaiting() {
  const std::vector<UploadCall*> waiting(waiting_.begin(), waiting_.end());
  for (UploadCall* const call : waiting) {
    // One may have ended another of its site.
    if (std::find(waiting_.begin(), waiting_.end(), call) != waiting_.end()) {
      Admit(call);
    }
  }
}

void TransferService::DropSpool(const std::string& site) {
  const auto found = spools_.find(site);
  spooled_bytes_ -= found->second->header.total_bytes();
  spools_.erase(found);
}

void TransferService::Sweep() {
  for (UploadCall* const call : std::vector<UploadCall*>(uploads_.begin(), uploads_.end())) {
    if (!call->ended() && call->Idle()) {
      call->End(absl::DeadlineExceededError("the upload made no progress; ask for its progress and resume it"));
    }
  }
  for (DownloadCall* const call : std::vector<DownloadCall*>(downloads_.begin(), downloads_.end())) {
    call->Sweep();
  }
  std::vector<std::string> stale;
  for (const auto& [site, spool] : spools_) {
    if (spool->owner == nullptr && ++spool->idle_sweeps > options_.max_idle_sweeps) {
      stale.push_back(site);
    }
  }
  for (const std::string& site : stale) {
    LogInfo("transfer", "dropped a partial upload that nobody resumed site=", site);
    DropSpool(site);
  }
  AdmitWaiting();
  bulk_.PostAfter(options_.sweep_interval, [this] { Sweep(); });
}

std::array<uint8_t, 32> TransferService::DigestOf(const SharedBytes& bytes) {
  std::erase_if(digests_, [](const auto& known) { return known.second.bytes.expired(); });
  const auto found = digests_.find(bytes.get());
  if (found != digests_.end()) {
    return found->second.digest;
  }
  const std::array<uint8_t, 32> digest = Sha256(*bytes);
  digests_.emplace(bytes.get(), KnownDigest{bytes, digest});
  return digest;
}

}  // namespace tributary::coordinator
