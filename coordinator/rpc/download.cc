#include "coordinator/rpc/download.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/byte_kind.h"
#include "common/bytes.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "common/tls.h"
#include "common/wire_size.h"
#include "coordinator/rpc/grpc_status.h"

namespace tributary::coordinator {
namespace {

constexpr int kDataField = 3;  // DownloadFrame.data

// An encoded DownloadFrame whose data is not copied: protobuf's fields may come in any order, so `data` goes last, as a slice that keeps
// alive what `data` is a view into.
template <typename Owner>
grpc::ByteBuffer EncodeFrame(const v1::DownloadFrame& without_data, absl::string_view data, Owner owner) {
  std::string head = without_data.SerializeAsString();
  if (data.empty()) {
    const grpc::Slice slice(head);
    return grpc::ByteBuffer(&slice, 1);
  }
  head.push_back(static_cast<char>(kDataField << 3 | 2));
  AppendVarint(data.size(), head);
  const grpc::Slice slices[] = {
      grpc::Slice(head),
      grpc::Slice(
          const_cast<char*>(data.data()), data.size(), [](void* shared) { delete static_cast<Owner*>(shared); },
          new Owner(std::move(owner))),
  };
  return grpc::ByteBuffer(slices, 2);
}

}  // namespace

// One stream. Frees itself after OnDone, on the bulk executor.
class Downloads::Call final : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  Call(Downloads* downloads, grpc::CallbackServerContext* context, Identity caller, v1::DownloadRequest request)
      : downloads_(downloads), context_(context), caller_(std::move(caller)), key_(SpiffeId(caller_)), request_(std::move(request)) {
    context->AddTrailingMetadata(kCoordinatorTimeKey, absl::StrCat(absl::ToUnixMillis(Clock::Real().WallNow())));
    downloads_->bulk_->Post([this] { Begin(); });
  }

  void OnWriteDone(bool ok) override {
    downloads_->bulk_->Post([this, ok] { WriteDone(ok); });
  }
  void OnCancel() override {
    downloads_->bulk_->Post([this] { End(absl::CancelledError("the connection broke; resume the download")); });
  }
  void OnDone() override {
    downloads_->bulk_->Post([this] { Done(); });
  }

  // On the bulk executor. Bounds the wait for a peer that does not read.
  void Sweep() {
    if (++idle_sweeps_ > downloads_->options_.max_idle_sweeps && !finished_ && !asking_) {
      ended_ = true;
      context_->TryCancel();
      FinishWith(absl::DeadlineExceededError("the download made no progress; resume it"));
    }
  }

 private:
  void Begin() {
    downloads_->calls_.insert(this);
    if (++downloads_->open_by_caller_[key_] > downloads_->options_.max_open) {
      End(absl::ResourceExhaustedError(absl::StrCat(key_, " has ", downloads_->options_.max_open, " downloads open already")));
      return;
    }
    asking_ = true;
    downloads_->executor_->Post([this] {
      absl::StatusOr<SharedBytes> bytes = downloads_->coordinator_->OpenDownload(
          request_, caller_.role == Role::kOperator ? std::nullopt : std::make_optional(caller_.name));
      downloads_->bulk_->Post([this, bytes = std::move(bytes)] {
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
    const absl::StatusOr<Digest> digest = downloads_->DigestOf(bytes_);
    if (!digest.ok()) {
      Unreadable(digest.status());
      return;
    }
    digest_ = DigestBytes(*digest);
    WriteFrame();
  }

  void WriteFrame() {
    const uint64_t length = std::min(downloads_->options_.frame_bytes, bytes_->size() - offset_);
    auto read = std::make_shared<std::string>();
    const absl::StatusOr<absl::string_view> data = bytes_->Slice(offset_, length, *read);
    if (!data.ok()) {
      Unreadable(data.status());
      return;
    }
    v1::DownloadFrame frame;
    frame.set_total_bytes(bytes_->size());
    frame.set_offset(offset_);
    frame.set_crc32c(Crc32c(*data));
    last_ = offset_ + length == bytes_->size();
    if (last_) {
      frame.set_sha256(digest_);
    }
    buffer_ = EncodeFrame(frame, *data, std::make_pair(bytes_, std::move(read)));
    offset_ += length;
    writing_ = true;
    if (caller_.role == Role::kSite) {
      const ByteKind kind = request_.has_commits() ? ByteKind::kCommit : ByteKind::kSnapshot;
      downloads_->executor_->Post([coordinator = downloads_->coordinator_, site = caller_.name, kind, bytes = WireSize(buffer_.Length())] {
        coordinator->CountBytes(site, ByteDirection::kDown, kind, bytes);
      });
    }
    StartWrite(&buffer_);
  }

  void Unreadable(const absl::Status& why) {
    LogError("transfer", "a download cannot go on: ", why.message(), LogField("caller", key_));
    End(absl::UnavailableError("the coordinator's disk failed; resume the download"));
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
    if (--downloads_->open_by_caller_[key_] == 0) {
      downloads_->open_by_caller_.erase(key_);
    }
    Finish(ToGrpcStatus(status));
  }

  void Done() {
    downloads_->calls_.erase(this);
    delete this;
  }

  Downloads* const downloads_;
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

grpc::ServerWriteReactor<grpc::ByteBuffer>* Downloads::Open(grpc::CallbackServerContext* context, Identity caller,
                                                            v1::DownloadRequest request) {
  return new Call(this, context, std::move(caller), std::move(request));
}

void Downloads::Sweep() {
  for (Call* const call : std::vector<Call*>(calls_.begin(), calls_.end())) {
    call->Sweep();
  }
}

absl::StatusOr<Digest> Downloads::DigestOf(const SharedBytes& bytes) {
  std::erase_if(digests_, [](const auto& known) { return known.second.bytes.expired(); });
  const auto found = digests_.find(bytes.get());
  if (found != digests_.end()) {
    return found->second.digest;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const Digest digest, Sha256(*bytes));
  digests_.emplace(bytes.get(), KnownDigest{bytes, digest});
  return digest;
}

}  // namespace tributary::coordinator
