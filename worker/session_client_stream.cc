#include "worker/session_client_stream.h"

#include <utility>

namespace tributary::worker {
namespace {

ByteKind KindOf(const v1::WorkerMessage& message) {
  return message.has_update() ? ByteKind::kUpdate : ByteKind::kControl;
}
ByteKind KindOf(const v1::CoordinatorMessage& message) {
  return message.has_commit() ? ByteKind::kCommit : ByteKind::kControl;
}

}  // namespace

SessionStream::SessionStream(SessionStreamOwner owner, std::shared_ptr<grpc::Channel> channel)
    : owner_(std::move(owner)), channel_(std::move(channel)), stub_(v1::SessionService::NewStub(channel_)) {}

void SessionStream::Open() {
  owner_.prepare(context_);
  stub_->async()->Open(&context_, this);
  AddHold();
  handoff_.Give();
  StartRead(&incoming_);
  StartCall();
}

void SessionStream::Send(v1::WorkerMessage message) {
  if (over_ || finishing_) {
    return;
  }
  queue_.push_back(std::move(message));
  WriteNext();
}

void SessionStream::Finish() {
  finishing_ = true;
  WriteNext();
}

void SessionStream::WriteNext() {
  if (over_ || writing_ || half_closed_) {
    return;
  }
  if (!queue_.empty()) {
    writing_ = true;
    owner_.moved(ByteDirection::kUp, KindOf(queue_.front()), queue_.front().ByteSizeLong());
    handoff_.Give();
    StartWrite(&queue_.front());
  } else if (finishing_) {
    half_closed_ = true;
    handoff_.Give();
    StartWritesDone();
  }
}

void SessionStream::OnWriteDone(bool ok) {
  handoff_.Take();
  owner_.executor->Post([this, ok] {
    writing_ = false;
    queue_.pop_front();
    if (ok) {
      WriteNext();
    }
  });
}

void SessionStream::OnReadDone(bool ok) {
  handoff_.Take();
  owner_.executor->Post([this, ok] {
    if (!ok) {
      over_ = true;
      handoff_.Give();
      RemoveHold();
      return;
    }
    owner_.moved(ByteDirection::kDown, KindOf(incoming_), incoming_.ByteSizeLong());
    v1::CoordinatorMessage message;
    message.Swap(&incoming_);
    handoff_.Give();
    StartRead(&incoming_);
    owner_.message(std::move(message));
  });
}

void SessionStream::OnDone(const grpc::Status& status) {
  handoff_.Take();
  // A copy: the stream is destroyed in it.
  owner_.executor->Post([done = owner_.done, status = FromGrpc(status)] { done(status); });
}

}  // namespace tributary::worker
