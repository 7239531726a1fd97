#include "worker/session_client_transfer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "proto/wire_limits.h"

namespace tributary::worker {

namespace {

// Of what a coordinator announces, to be set aside at once: growing step by step moves long downloads again and again.
constexpr uint64_t kMaxReserved = uint64_t{1} << 30;

}  // namespace

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  // The codes are the same numbers by definition (absl/status/status.h).
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

void TransferCall::Pace(uint64_t encoded_bytes, std::function<void()> go) {
  if (!context_.pace) {
    return go();
  }
  context_.pace(
      encoded_bytes,
      [this] {
        CountProgress();
        return cancelled_.load(std::memory_order_relaxed);
      },
      std::move(go));
}

ProgressCall::ProgressCall(TransferContext context, const v1::UploadId& id, Done done)
    : TransferCall(std::move(context)), id_(id), done_(std::move(done)) {}

void ProgressCall::Start() {
  context_.prepare(client_context_);
  context_.moved(id_.ByteSizeLong());
  handoff_.Give();
  context_.stub->async()->GetUploadProgress(&client_context_, &id_, &progress_reply_, [this](const grpc::Status& status) {
    handoff_.Take();
    // `done` may destroy this object.
    const Done done = std::move(done_);
    if (status.ok()) {
      return done(std::move(progress_reply_));
    }
    done(FromGrpc(status));
  });
}

UploadCall::UploadCall(TransferContext context, v1::UploadHeader header, std::shared_ptr<const std::string> payload, uint64_t offset,
                       uint64_t frame_bytes, Done done)
    : TransferCall(std::move(context)),
      payload_(std::move(payload)),
      offset_(offset),
      frame_bytes_(std::clamp<uint64_t>(frame_bytes, 1, kMaxFrameBytes)),
      done_(std::move(done)) {
  *frame_.mutable_header() = std::move(header);
}

void UploadCall::Start() {
  context_.prepare(client_context_);
  context_.stub->async()->Upload(&client_context_, &reply_, this);
  WriteNext();
  StartCall();
}

void UploadCall::WriteNext() {
  const uint64_t size = std::min<uint64_t>(frame_bytes_, payload_->size() - offset_);
  frame_.set_offset(offset_);
  frame_.set_data(payload_->data() + offset_, size);
  frame_.set_crc32c(Crc32c(frame_.data()));
  offset_ += size;
  if (!context_.pace) {
    return Write();
  }
  // Nothing may be under way for a while: the hold keeps the call from ending before the frame is handed over.
  AddHold();
  Pace(frame_.ByteSizeLong(), [this] {
    Write();
    RemoveHold();
  });
}

void UploadCall::Write() {
  context_.moved(frame_.ByteSizeLong());
  handoff_.Give();
  // A reaction may follow on another thread at once, so nothing of this object is touched after the start.
  if (offset_ == payload_->size()) {
    StartWriteLast(&frame_, grpc::WriteOptions());
  } else {
    StartWrite(&frame_);
  }
}

void UploadCall::OnWriteDone(bool ok) {
  handoff_.Take();
  CountProgress();
  // Not ok: the call is over, OnDone says why.
  if (!ok || offset_ == payload_->size()) {
    return;
  }
  frame_.clear_header();
  WriteNext();
}

void UploadCall::OnDone(const grpc::Status& status) {
  handoff_.Take();
  const Done done = std::move(done_);
  absl::Status result = FromGrpc(status);
  if (result.ok() && !reply_.complete()) {
    result = absl::InternalError(
        absl::StrCat("the coordinator holds ", reply_.received_bytes(), " of ", payload_->size(), " bytes after all were sent"));
  }
  done(std::move(result));
}

DownloadCall::DownloadCall(TransferContext context, std::unique_ptr<PartialDownload> partial, uint64_t max_bytes, Done done)
    : TransferCall(std::move(context)),
      partial_(std::move(partial)),
      max_bytes_(max_bytes),
      request_(partial_->request),
      done_(std::move(done)) {
  request_.set_offset(partial_->bytes.size());
}

void DownloadCall::Start() {
  context_.prepare(client_context_);
  context_.stub->async()->Download(&client_context_, &request_, this);
  handoff_.Give();
  StartRead(&frame_);
  StartCall();
}

absl::Status DownloadCall::Accept(const v1::DownloadFrame& frame) {
  PartialDownload& partial = *partial_;
  if (frame.total_bytes() > max_bytes_) {
    return absl::FailedPreconditionError(
        absl::StrCat("the download has ", frame.total_bytes(), " bytes where this model can need at most ", max_bytes_));
  }
  if (partial.total_bytes != 0 && partial.total_bytes != frame.total_bytes()) {
    return absl::DataLossError(absl::StrCat("the download had ", partial.total_bytes, " bytes and now has ", frame.total_bytes()));
  }
  if (frame.offset() != partial.bytes.size() || frame.data().size() > frame.total_bytes() - frame.offset()) {
    return absl::DataLossError(absl::StrCat("a frame of ", frame.data().size(), " bytes at ", frame.offset(),
                                            " does not continue a download of ", frame.total_bytes(), " bytes at ", partial.bytes.size()));
  }
  if (frame.data().size() > kMaxFrameBytes || (frame.data().empty() && frame.sha256().empty())) {
    return absl::DataLossError(absl::StrCat("a frame of ", frame.data().size(), " bytes; frames have 1 to ", kMaxFrameBytes));
  }
  if (Crc32c(frame.data()) != frame.crc32c()) {
    return absl::DataLossError(absl::StrCat("the frame at ", frame.offset(), " fails its checksum"));
  }
  partial.total_bytes = frame.total_bytes();
  if (partial.bytes.empty()) {
    partial.bytes.reserve(std::min(partial.total_bytes, kMaxReserved));
  }
  partial.bytes.append(frame.data());
  partial.hasher.Update(frame.data());
  if (!frame.sha256().empty()) {
    sha256_ = frame.sha256();
  }
  return absl::OkStatus();
}

void DownloadCall::OnReadDone(bool ok) {
  handoff_.Take();
  if (!ok) {
    return;
  }
  CountProgress();
  v1::DownloadFrame frame;
  frame.Swap(&frame_);
  context_.moved(frame.ByteSizeLong());
  if (error_.ok()) {
    error_ = Accept(frame);
    if (!error_.ok()) {
      client_context_.TryCancel();
    }
  }
  // Also after an error: reading to the end is what ends the call. What is not read, flow control keeps the coordinator from sending.
  if (!context_.pace) {
    handoff_.Give();
    return StartRead(&frame_);
  }
  AddHold();
  Pace(frame.ByteSizeLong(), [this] {
    handoff_.Give();
    StartRead(&frame_);
    RemoveHold();
  });
}

void DownloadCall::OnDone(const grpc::Status& status) {
  handoff_.Take();
  const Done done = std::move(done_);
  absl::Status result = error_.ok() ? FromGrpc(status) : error_;
  if (result.ok() && partial_->bytes.size() != partial_->total_bytes) {
    result =
        absl::UnavailableError(absl::StrCat("the download ended at ", partial_->bytes.size(), " of ", partial_->total_bytes, " bytes"));
  }
  if (result.ok() && DigestBytes(partial_->hasher.Finish()) != sha256_) {
    result = absl::DataLossError("the download fails its SHA-256");
  }
  done(std::move(result));
}

}  // namespace tributary::worker
