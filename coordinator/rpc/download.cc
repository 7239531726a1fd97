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

// Whoever begins downloads in a loop has this share of the coordinator's thread, which reads commits out of the journal for it, and no
// more: rounds need the rest.
constexpr int kShare = 10;
// Files that are kept open for whoever asks next.
constexpr size_t kMaxKept = 8;

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
  Call(Downloads* downloads, grpc::CallbackServerContext* context, Identity caller, std::string worker_secret, v1::DownloadRequest request)
      : downloads_(downloads),
        context_(context),
        caller_(std::move(caller)),
        worker_secret_(std::move(worker_secret)),
        key_(SpiffeId(caller_)),
        request_(std::move(request)) {
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
    if (++idle_sweeps_ > downloads_->options_.max_idle_sweeps && !finished_ && !asking_ && !waiting_) {
      ended_ = true;
      context_->TryCancel();
      FinishWith(absl::DeadlineExceededError("the download made no progress; resume it"));
    }
  }

  // On the bulk executor, when it is this call's turn.
  void Ask() {
    waiting_ = false;
    asking_ = true;
    downloads_->executor_->Post([this] {
      const absl::Time start = downloads_->options_.clock->Now();
      absl::StatusOr<SharedBytes> bytes = Bytes();
      const absl::Duration took = downloads_->options_.clock->Now() - start;
      downloads_->hashing_->Post([this, bytes = std::move(bytes), took] {
        absl::StatusOr<Digest> digest = bytes.ok() ? downloads_->DigestOf(request_, *bytes) : bytes.status();
        downloads_->bulk_->Post([this, bytes, digest = std::move(digest), took] {
          downloads_->Answered(key_, took);
          asking_ = false;
          Opened(bytes, digest);
        });
      });
    });
  }

 private:
  // Asks nothing and counts nothing of a site whose worker this is not.
  void Begin() {
    downloads_->calls_.insert(this);
    if (caller_.role != Role::kSite) {
      Enter();
      return;
    }
    asking_ = true;
    downloads_->executor_->Post([this] {
      downloads_->bulk_->Post([this, worker = downloads_->coordinator_->CheckWorker(caller_.name, worker_secret_)] {
        asking_ = false;
        if (worker.ok()) {
          Enter();
        } else {
          End(worker);
        }
      });
    });
  }

  void Enter() {
    entered_ = true;
    Caller& caller = downloads_->callers_[key_];
    if (++caller.open > downloads_->options_.max_open) {
      End(absl::ResourceExhaustedError(absl::StrCat(key_, " has ", downloads_->options_.max_open, " downloads open already")));
      return;
    }
    if (ended_) {
      TryFinish();
      return;
    }
    waiting_ = true;
    caller.waiting.push_back(this);
    downloads_->AskNext(key_);
  }

  // On the coordinator's executor.
  absl::StatusOr<SharedBytes> Bytes() const {
    return downloads_->coordinator_->OpenDownload(request_, caller_.role == Role::kSite ? std::make_optional(caller_.name) : std::nullopt);
  }

  void Opened(const absl::StatusOr<SharedBytes>& bytes, const absl::StatusOr<Digest>& digest) {
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
    if (std::exchange(waiting_, false)) {
      std::erase(downloads_->callers_[key_].waiting, this);
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
    if (entered_) {
      --downloads_->callers_[key_].open;
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
  const std::string worker_secret_;
  const std::string key_;
  const v1::DownloadRequest request_;
  SharedBytes bytes_;
  std::string digest_;
  uint64_t offset_ = 0;
  grpc::ByteBuffer buffer_;
  bool last_ = false;
  bool writing_ = false;
  bool entered_ = false;  // counts as open
  bool waiting_ = false;  // for its turn to ask
  bool asking_ = false;
  bool ended_ = false;     // nothing more will be written
  bool finished_ = false;  // Finish was called
  absl::Status status_;
  int idle_sweeps_ = 0;
};

grpc::ServerWriteReactor<grpc::ByteBuffer>* Downloads::Open(grpc::CallbackServerContext* context, Identity caller,
                                                            std::string worker_secret, v1::DownloadRequest request) {
  return new Call(this, context, std::move(caller), std::move(worker_secret), std::move(request));
}

void Downloads::Sweep() {
  for (Call* const call : std::vector<Call*>(calls_.begin(), calls_.end())) {
    call->Sweep();
  }
  const absl::Time now = options_.clock->Now();
  std::erase_if(callers_, [now](const auto& entry) {
    const Caller& caller = entry.second;
    return caller.open == 0 && caller.waiting.empty() && !caller.asking && caller.not_before <= now;
  });
  hashing_->Post([this] { ForgetUnused(); });
}

void Downloads::ForgetUnused() {
  for (auto& [bytes, known] : digests_) {
    if (!std::exchange(known.used, false)) {
      known.kept = nullptr;
    }
  }
}

void Downloads::AskNext(const std::string& key) {
  Caller& caller = callers_[key];
  if (caller.asking || caller.waiting.empty()) {
    return;
  }
  caller.asking = true;
  bulk_->PostAfter(std::max(caller.not_before - options_.clock->Now(), absl::ZeroDuration()), [this, key] {
    Caller& ready = callers_[key];
    if (ready.waiting.empty()) {
      ready.asking = false;
      return;
    }
    Call* const call = ready.waiting.front();
    ready.waiting.pop_front();
    call->Ask();
  });
}

void Downloads::Answered(const std::string& key, absl::Duration took) {
  Caller& caller = callers_[key];
  caller.asking = false;
  caller.not_before = options_.clock->Now() + (kShare - 1) * took;
  AskNext(key);
}

absl::StatusOr<Digest> Downloads::DigestOf(const v1::DownloadRequest& request, const SharedBytes& bytes) {
  std::erase_if(digests_, [](const auto& known) { return known.second.bytes.expired(); });
  if (const auto found = digests_.find(bytes.get()); found != digests_.end()) {
    found->second.used = true;
    return found->second.digest;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const Digest digest, coordinator_->DigestOfDownload(request, *bytes));
  const auto kept = std::count_if(digests_.begin(), digests_.end(), [](const auto& known) { return known.second.kept != nullptr; });
  const bool keep = (request.has_snapshot_round() || request.has_newest_snapshot()) && static_cast<size_t>(kept) < kMaxKept;
  digests_.emplace(bytes.get(), KnownDigest{bytes, digest, keep ? bytes : nullptr});
  return digest;
}

}  // namespace tributary::coordinator
