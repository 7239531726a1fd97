#include "tests/worker/mini_coordinator.h"

#include <algorithm>
#include <utility>

#include "common/checksum.h"
#include "optim/commit.h"
#include "optim/model_spec.h"
#include "optim/snapshot.h"
#include "proto/config/run_options.h"

namespace tributary::worker {
namespace {

constexpr char kRunId[] = "run-1";

}  // namespace

MiniCoordinator::MiniCoordinator(v1::RunSpec spec, Script script)
    : spec_(std::move(spec)), script_(script), options_(OptimizerOptionsOf(spec_).value()) {
  const optim::ModelSpec model = ModelSpecOf(spec_).value();
  layout_ = optim::MakeLayout(model).value();
  aggregator_ = optim::MakeAggregator(options_, layout_).value();
  std::vector<float> theta(layout_.size());
  EXPECT_TRUE(optim::InitializeWeights(model, spec_.seed(), layout_, absl::MakeSpan(theta)).ok());
  if (script_.other_weights) theta[0] += 1;
  state_ = optim::InitialState(options_, layout_, std::move(theta)).value();
  hashes_[0] = DigestBytes(optim::StateHash(layout_, state_));
  held_back_ = script_.hold_first_round;
}

TestHub::Handlers MiniCoordinator::Handlers() {
  TestHub::Handlers handlers;
  handlers.open = [this](grpc::ServerContext&, Stream& stream) {
    v1::WorkerMessage message;
    while (stream.Read(&message)) {
      const std::lock_guard<std::mutex> lock(mutex_);
      received_.push_back(message);
      changed_.notify_all();
      stream_ = &stream;
      const bool open = OnMessage(message, stream);
      if (open) continue;
      stream_ = nullptr;
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "cable cut");
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stream_ == &stream) stream_ = nullptr;
    return grpc::Status::OK;
  };
  handlers.progress = [](const v1::UploadId&, v1::UploadProgress&) { return grpc::Status::OK; };
  handlers.upload = [this](TestHub::Frames& frames, v1::UploadProgress& progress) {
    v1::UploadFrame frame;
    v1::UploadHeader header;
    std::string payload;
    while (frames.Read(&frame)) {
      if (frame.has_header()) header = frame.header();
      payload += frame.data();
    }
    progress.set_received_bytes(payload.size());
    progress.set_complete(payload.size() == header.total_bytes());
    const std::lock_guard<std::mutex> lock(mutex_);
    ++uploads_;
    if (stream_ != nullptr) OnUpdate(header.id().round(), payload, *stream_);
    return grpc::Status::OK;
  };
  handlers.download = [this](const v1::DownloadRequest& request, TestHub::Download& frames) {
    std::string content;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++downloads_;
      if (request.has_commits()) {
        for (uint64_t round = request.commits().first(); round <= request.commits().last(); ++round) {
          const std::string& record = commits_.at(round).record();
          for (int shift = 0; shift < 32; shift += 8) content.push_back(static_cast<char>(record.size() >> shift));
          content += record;
        }
      } else {
        content = optim::EncodeSnapshot(layout_, state_);
      }
    }
    v1::DownloadFrame frame;
    frame.set_total_bytes(content.size());
    frame.set_offset(request.offset());
    frame.set_data(content.substr(request.offset()));
    frame.set_crc32c(Crc32c(frame.data()));
    frame.set_sha256(DigestBytes(Sha256(content)));
    frames.Write(frame);
    return grpc::Status::OK;
  };
  return handlers;
}

bool MiniCoordinator::OnMessage(const v1::WorkerMessage& message, Stream& stream) {
  v1::CoordinatorMessage answer;
  switch (message.body_case()) {
    case v1::WorkerMessage::kHello:
      held_ = message.hello().held();
      answer.mutable_welcome()->set_lease_ms(script_.lease_ms);
      answer.mutable_welcome()->set_max_inline_bytes(script_.max_inline);
      stream.Write(answer);
      if (over_ && held_.run_id() == kRunId) {
        SendEnd(stream);
        return true;
      }
      answer.mutable_run_offer()->set_run_id(kRunId);
      *answer.mutable_run_offer()->mutable_spec() = spec_;
      answer.mutable_run_offer()->set_layout_hash(DigestBytes(layout_.hash()));
      stream.Write(answer);
      return true;
    case v1::WorkerMessage::kHeartbeat:
      answer.mutable_heartbeat_ack();
      stream.Write(answer);
      return true;
    case v1::WorkerMessage::kRunAnswer:
      if (message.run_answer().accepted()) SendPlan(held_.state_hash(), held_.round(), stream);
      return true;
    case v1::WorkerMessage::kReady:
      if (message.ready().round() != state_.round || message.ready().state_hash() != hashes_[state_.round]) {
        SendPlan(message.ready().state_hash(), message.ready().round(), stream);
        return true;
      }
      return StartNextRound(stream);
    case v1::WorkerMessage::kUpdate:
      return OnUpdate(message.update().round(), message.update().payload(), stream);
    case v1::WorkerMessage::kUpdateSkipped:
      ADD_FAILURE() << message.update_skipped().reason();
      return false;
    case v1::WorkerMessage::kStateReport:
      over_ = true;
      SendEnd(stream);
      return true;
    case v1::WorkerMessage::kLeave:
    case v1::WorkerMessage::BODY_NOT_SET:
      return true;
  }
  return true;
}

void MiniCoordinator::SendPlan(const std::string& held_hash, uint64_t held_round, Stream& stream) {
  v1::CoordinatorMessage answer;
  v1::SyncPlan& plan = *answer.mutable_sync_plan();
  plan.set_run_id(kRunId);
  plan.set_target_round(state_.round);
  const bool agrees = !held_hash.empty() && hashes_.contains(held_round) && hashes_[held_round] == held_hash;
  plan.set_needs_snapshot(!agrees);
  plan.set_snapshot_round(agrees ? 0 : state_.round);
  plan.set_first_commit(agrees ? held_round + 1 : state_.round + 1);
  if (!agrees && !held_hash.empty()) plan.set_reason("its state differs");
  if (last_included_ != 0) {
    plan.mutable_last_receipt()->set_run_id(kRunId);
    plan.mutable_last_receipt()->set_round(last_included_);
    plan.mutable_last_receipt()->set_result(v1::Receipt::INCLUDED);
  }
  stream.Write(answer);
}

bool MiniCoordinator::StartNextRound(Stream& stream) {
  const uint64_t round = state_.round + 1;
  v1::CoordinatorMessage answer;
  if (Once(script_.drain, round)) {
    answer.mutable_drain()->set_reconnect_after_ms(1);
    stream.Write(answer);
    return false;
  }
  const optim::RoundParameters parameters = optim::ParametersForRound(options_, round);
  v1::RoundStart& start = *answer.mutable_round_start();
  start.set_run_id(kRunId);
  start.set_round(round);
  start.set_learning_rate(parameters.learning_rate);
  start.set_local_steps(parameters.local_steps);
  start.set_base_round(state_.round);
  start.set_base_state_hash(hashes_[state_.round]);
  start.set_evaluate_base(round == 1);
  stream.Write(answer);
  return true;
}

// What the round becomes with this update, or without any; the state follows it.
v1::Commit MiniCoordinator::MakeCommit(std::optional<std::string> payload) {
  const uint64_t round = state_.round + 1;
  EXPECT_TRUE(aggregator_->BeginRound(optim::ParametersForRound(options_, round), 1).ok());
  if (payload.has_value()) {
    const absl::Status added = aggregator_->Add(*payload);
    EXPECT_TRUE(added.ok()) << added;
    last_included_ = round;
  }
  const optim::Commit commit = aggregator_->Finish().value();
  const absl::Status applied = optim::Apply(options_, layout_, commit, state_);
  EXPECT_TRUE(applied.ok()) << applied;
  hashes_[round] = DigestBytes(optim::StateHash(layout_, state_));
  v1::Commit& message = commits_[round];
  message.set_run_id(kRunId);
  message.set_round(round);
  message.set_record(optim::EncodeCommit(commit));
  message.set_state_hash(hashes_[round]);
  message.set_report(round == spec_.rounds());
  return message;
}

bool MiniCoordinator::OnUpdate(uint64_t round, const std::string& payload, Stream& stream) {
  payloads_[round].push_back(payload);
  if (round != state_.round + 1 || held_back_) return true;
  if (Once(script_.lose_update, round)) return false;
  if (Once(script_.close_without, round)) {
    MakeCommit(std::nullopt);
    return false;
  }
  v1::Commit commit = MakeCommit(payload);
  if (Once(script_.lose_receipt, round)) return false;

  v1::CoordinatorMessage answer;
  answer.mutable_receipt()->set_run_id(kRunId);
  answer.mutable_receipt()->set_round(round);
  answer.mutable_receipt()->set_result(v1::Receipt::INCLUDED);
  stream.Write(answer);
  if (Once(script_.wrong_commit, round)) {
    optim::Commit other = optim::DecodeCommit(commit.record()).value();
    other.learning_rate *= 2;
    commit.set_record(optim::EncodeCommit(other));
  }
  if (commit.record().size() > script_.max_inline) commit.clear_record();
  *answer.mutable_commit() = commit;
  stream.Write(answer);
  return commit.report() || StartNextRound(stream);
}

void MiniCoordinator::SendEnd(Stream& stream) {
  v1::CoordinatorMessage answer;
  answer.mutable_run_end()->set_run_id(kRunId);
  answer.mutable_run_end()->set_state(v1::FINISHED);
  answer.mutable_run_end()->set_round(state_.round);
  answer.mutable_run_end()->set_state_hash(hashes_[state_.round]);
  stream.Write(answer);
}

bool MiniCoordinator::Once(uint64_t& fault, uint64_t round) {
  if (fault != round) return false;
  fault = 0;
  return true;
}

void MiniCoordinator::Release() {
  const std::lock_guard<std::mutex> lock(mutex_);
  held_back_ = false;
  const std::vector<std::string> early = payloads_[1];
  if (!early.empty() && stream_ != nullptr) OnUpdate(1, early.back(), *stream_);
}

std::string MiniCoordinator::state_hash() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return hashes_.at(state_.round);
}

uint64_t MiniCoordinator::round() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return state_.round;
}

std::vector<std::string> MiniCoordinator::Payloads(uint64_t round) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = payloads_.find(round);
  return found == payloads_.end() ? std::vector<std::string>() : found->second;
}

std::vector<v1::WorkerMessage> MiniCoordinator::Received(v1::WorkerMessage::BodyCase body) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<v1::WorkerMessage> messages;
  std::copy_if(received_.begin(), received_.end(), std::back_inserter(messages),
               [body](const v1::WorkerMessage& message) { return message.body_case() == body; });
  return messages;
}

void MiniCoordinator::WaitFor(v1::WorkerMessage::BodyCase body, size_t count) const {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto there = [this, body, count] {
    const auto is_it = [body](const v1::WorkerMessage& message) { return message.body_case() == body; };
    return static_cast<size_t>(std::count_if(received_.begin(), received_.end(), is_it)) >= count;
  };
  EXPECT_TRUE(changed_.wait_for(lock, absl::ToChronoNanoseconds(kPatience), there)) << "waited in vain for message " << body;
}

int MiniCoordinator::downloads() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return downloads_;
}

int MiniCoordinator::uploads() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return uploads_;
}

}  // namespace tributary::worker
