#include "tests/worker/served_federation.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "common/checksum.h"
#include "common/stored_bytes.h"
#include "common/worker_secret.h"
#include "optim/commit.h"

namespace tributary::worker {
namespace {

constexpr char kSite[] = "berlin";

std::string SecretOf(const grpc::ServerContext& context) {
  const auto found = context.client_metadata().find(kWorkerSecretKey);
  return found == context.client_metadata().end() ? "" : std::string(found->second.data(), found->second.size());
}

}  // namespace

ServedFederation::ServedFederation(const v1::RunSpec& spec, Script script)
    : script_(script), federation_(script.companion ? 1 : 0, /*snapshot_every=*/2, script.max_inline) {
  federation_.AddSite(kSite);
  federation_.config.mutable_lease()->set_seconds(absl::ToInt64Seconds(script.lease));
  federation_.config.mutable_lease()->set_nanos(static_cast<int32_t>((script.lease % absl::Seconds(1)) / absl::Nanoseconds(1)));
  const absl::Status started = federation_.Restart();
  EXPECT_TRUE(started.ok()) << started;
  v1::RunSpec submitted = spec;
  v1::ParticipationSpec& participation = *submitted.mutable_participation();
  participation.set_min_workers(script.companion ? 2 : 1);
  participation.set_quorum(0.5);
  participation.mutable_max_deadline()->set_seconds(60);
  participation.mutable_wait_timeout()->set_seconds(600);
  run_ = Submit(federation_, submitted);
  federation_.ConnectAll();
}

TestHub::Handlers ServedFederation::Handlers() {
  TestHub::Handlers handlers;
  handlers.open = [this](grpc::ServerContext& context, TestHub::Stream& stream) { return Serve(context, stream); };
  handlers.progress = [](const v1::UploadId&, v1::UploadProgress&) { return grpc::Status::OK; };
  handlers.upload = [this](TestHub::Frames& frames, v1::UploadProgress& progress) {
    v1::UploadFrame frame;
    v1::UploadHeader header;
    std::string payload;
    while (frames.Read(&frame)) {
      if (frame.has_header()) {
        header = frame.header();
      }
      payload += frame.data();
    }
    progress.set_received_bytes(payload.size());
    progress.set_complete(payload.size() == header.total_bytes());
    const std::lock_guard<std::mutex> lock(mutex_);
    ++uploads_;
    payloads_[header.id().round()].push_back(payload);
    const absl::Status taken = federation_.coordinator().UploadCompleted(kSite, header, {std::move(payload), ""});
    EXPECT_TRUE(taken.ok()) << taken;
    federation_.Settle();
    return grpc::Status::OK;
  };
  handlers.download = [this](const v1::DownloadRequest& request, TestHub::Download& frames) {
    absl::StatusOr<SharedBytes> content;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++downloads_;
      content = federation_.coordinator().OpenDownload(request, "site-0");
    }
    if (!content.ok()) {
      ADD_FAILURE() << content.status();
      return grpc::Status(grpc::StatusCode::INTERNAL, "no such download");
    }
    v1::DownloadFrame frame;
    frame.set_total_bytes((*content)->size());
    frame.set_offset(request.offset());
    frame.set_data(ReadAll(**content)->substr(request.offset()));
    frame.set_crc32c(Crc32c(frame.data()));
    frame.set_sha256(DigestBytes(*Sha256(**content)));
    frames.Write(frame);
    return grpc::Status::OK;
  };
  return handlers;
}

grpc::Status ServedFederation::Serve(grpc::ServerContext& context, TestHub::Stream& stream) {
  Line line(this, &context, &stream);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    line_ = &line;
    federation_.coordinator().SessionOpened(kSite, &line, {"127.0.0.1:1", SecretOf(context)});
  }
  v1::WorkerMessage message;
  while (!line.broken && stream.Read(&message)) {
    const std::lock_guard<std::mutex> lock(mutex_);
    received_.push_back(message);
    changed_.notify_all();
    OnMessage(message, line);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (line_ == &line) {
    line_ = nullptr;
  }
  federation_.coordinator().SessionClosed(kSite, &line);
  federation_.Settle();
  return line.broken ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "cable cut") : grpc::Status::OK;
}

void ServedFederation::OnMessage(v1::WorkerMessage message, Line& line) {
  if (line.closed) {
    return;
  }
  if (message.has_update()) {
    const uint64_t round = message.update().round();
    payloads_[round].push_back(message.update().payload());
    if (script_.hold_first_round && round == 1) {
      held_back_ = std::move(message);
      return;
    }
    if (Once(script_.lose_update, round)) {
      line.broken = true;
      return;
    }
    if (Once(script_.close_without, round)) {
      line.broken = true;
      federation_.Advance(absl::Minutes(2));  // past every deadline of the round
      return;
    }
    line.broken = Once(script_.lose_receipt, round);
  }
  const uint64_t bytes = message.ByteSizeLong();
  federation_.coordinator().MessageReceived(kSite, &line, std::move(message), bytes);
  federation_.Settle();
}

void ServedFederation::Line::Send(std::shared_ptr<const v1::CoordinatorMessage> message) {
  v1::CoordinatorMessage sent = *message;
  if (!broken) {
    federation->Tamper(sent, *this);
    stream->Write(sent);
  }
}

void ServedFederation::Line::Close(const absl::Status&) {
  closed = true;
  context->TryCancel();
}

void ServedFederation::Tamper(v1::CoordinatorMessage& message, Line& line) {
  if (message.has_run_offer() && script_.other_weights) {
    message.mutable_run_offer()->mutable_spec()->set_seed(message.run_offer().spec().seed() + 1);
  }
  if (message.has_commit() && Once(script_.wrong_commit, message.commit().round())) {
    optim::Commit other = optim::DecodeCommit(message.commit().record()).value();
    other.learning_rate *= 2;
    message.mutable_commit()->set_record(optim::EncodeCommit(other));
  }
  if (message.has_round_start() && Once(script_.drain, message.round_start().round())) {
    message.mutable_drain()->set_reconnect_after_ms(1);
    line.broken = true;
  }
}

void ServedFederation::Release() {
  const std::lock_guard<std::mutex> lock(mutex_);
  script_.hold_first_round = false;
  if (held_back_.has_value() && line_ != nullptr) {
    const uint64_t bytes = held_back_->ByteSizeLong();
    federation_.coordinator().MessageReceived(kSite, line_, *std::exchange(held_back_, std::nullopt), bytes);
    federation_.Settle();
  }
}

bool ServedFederation::Once(uint64_t& fault, uint64_t round) {
  return round == fault && std::exchange(fault, 0) != 0;
}

std::string ServedFederation::state_hash() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return federation_.Status(run_).state_hash();
}

uint64_t ServedFederation::round() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return federation_.Status(run_).round();
}

std::vector<std::string> ServedFederation::Payloads(uint64_t round) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = payloads_.find(round);
  return found == payloads_.end() ? std::vector<std::string>() : found->second;
}

std::vector<v1::WorkerMessage> ServedFederation::Received(v1::WorkerMessage::BodyCase body) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<v1::WorkerMessage> messages;
  std::copy_if(received_.begin(), received_.end(), std::back_inserter(messages),
               [body](const v1::WorkerMessage& message) { return message.body_case() == body; });
  return messages;
}

void ServedFederation::WaitFor(v1::WorkerMessage::BodyCase body, size_t count) const {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto there = [this, body, count] {
    const auto is_it = [body](const v1::WorkerMessage& message) { return message.body_case() == body; };
    return static_cast<size_t>(std::count_if(received_.begin(), received_.end(), is_it)) >= count;
  };
  EXPECT_TRUE(changed_.wait_for(lock, absl::ToChronoNanoseconds(kPatience), there)) << "waited in vain for message " << body;
}

int ServedFederation::downloads() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return downloads_;
}

int ServedFederation::uploads() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return uploads_;
}

}  // namespace tributary::worker
