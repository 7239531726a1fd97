#include "tests/coordinator/federation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "coordinator/journal/open_journal.h"
#include "coordinator/run/run_accounts.h"
#include "optim/commit.h"
#include "optim/snapshot.h"
#include "proto/config/capabilities.h"
#include "proto/config/yaml.h"
#include "proto/protocol_version.h"

namespace tributary::coordinator {
namespace {

// The gradient that site `site` sees in round `round`: a splitmix64 sequence in [-1, 1).
std::vector<float> InventedGradient(int site, uint64_t round, int64_t size) {
  uint64_t seed = static_cast<uint64_t>(site) * 1000003 + round;
  std::vector<float> gradient(size);
  for (float& value : gradient) {
    uint64_t z = seed += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    value = static_cast<float>(static_cast<int64_t>(z ^ (z >> 31))) * 0x1p-63f;
  }
  return gradient;
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  EXPECT_TRUE(value.ok()) << value.status();
  if (!value.ok()) {
    std::abort();
  }
  return *std::move(value);
}

}  // namespace

v1::RunSpec MakeSpec(const std::string& name, uint64_t rounds, int min_workers, const std::string& mode, const std::string& more) {
  v1::RunSpec spec;
  const std::string yaml = absl::StrCat("name: ", name, "\nrounds: ", rounds,
                                        "\n"
                                        "model: {mlp: {inputs: 8, hidden: [16], outputs: 4}}\n"
                                        "data: {kind: csv, label_column: label}\n"
                                        "optimizer: {mode: ",
                                        mode, mode == "distro" || mode == "local" ? ", k: 1024" : "",
                                        absl::StrContains(mode, "norm_bound") ? "" : ", norm_bound: 0",
                                        ", learning_rate: {peak: 0.01}}\n"
                                        "participation: {min_workers: ",
                                        min_workers, ", quorum: 0.5, min_deadline: 1s, max_deadline: 60s, wait_timeout: 5m}\n", more);
  const absl::Status parsed = ParseYaml(yaml, "run.yaml", &spec);
  EXPECT_TRUE(parsed.ok()) << parsed;
  return spec;
}

void FakeSite::Stream::Send(std::shared_ptr<const v1::CoordinatorMessage> message) {
  ASSERT_FALSE(closed) << "sent on a closed session";
  const bool commit = message->has_commit();
  const uint64_t bytes = message->ByteSizeLong();
  inbox.push_back(std::move(message));
  site->federation_->coordinator().CountBytes(site->name_, ByteDirection::kDown, commit ? ByteKind::kCommit : ByteKind::kControl, bytes);
}

void FakeSite::Stream::Close(const absl::Status& status) {
  ASSERT_FALSE(closed) << "closed twice";
  closed = true;
  if (site->session_ == this) {
    site->closed_with = status;
  }
}

void FakeSite::Connect() {
  streams_.push_back(std::make_unique<Stream>(this));
  session_ = streams_.back().get();
  federation_->coordinator().SessionOpened(name_, session_, {absl::StrCat("192.0.2.", number_ + 1, ":", streams_.size()), secret});
  SayHello();
}

void FakeSite::SayHello() {
  v1::WorkerMessage message;
  message.mutable_hello()->set_protocol_version(kOldestProtocolVersion);
  message.mutable_hello()->set_software_version("9.9-test");
  if (alter_hello) {
    alter_hello(*message.mutable_hello());
  }
  if (!run_id_.empty()) {
    v1::HeldState& held = *message.mutable_hello()->mutable_held();
    held.set_run_id(run_id_);
    if (state_.has_value()) {
      held.set_round(state_->round);
      held.set_state_hash(StateHash());
    }
  }
  Say(std::move(message));
}

void FakeSite::Disconnect() {
  if (session_ == nullptr) {
    return;
  }
  Stream* const stream = std::exchange(session_, nullptr);
  stream->inbox.clear();
  if (federation_->alive()) {
    federation_->coordinator().SessionClosed(name_, stream);
  }
}

void FakeSite::Forget() {
  run_id_.clear();
  model_.reset();
  encoder_.reset();
  state_.reset();
  pending_.reset();
}

bool FakeSite::Pump() {
  if (session_ == nullptr) {
    return false;
  }
  Stream* const stream = session_;
  if (stream->inbox.empty()) {
    if (stream->closed) {
      Disconnect();
      return true;
    }
    return false;
  }
  const std::shared_ptr<const v1::CoordinatorMessage> message = std::move(stream->inbox.front());
  stream->inbox.pop_front();
  received.push_back(*message);
  Handle(*message);
  return true;
}

void FakeSite::Say(v1::WorkerMessage message) {
  if (session_ != nullptr && !session_->closed && federation_->alive()) {
    const uint64_t bytes = message.ByteSizeLong();
    federation_->coordinator().MessageReceived(name_, session_, std::move(message), bytes);
  }
}

std::string FakeSite::StateHash() const {
  return state_.has_value() ? DigestBytes(optim::StateHash(model_->layout, *state_)) : "";
}

void FakeSite::Handle(const v1::CoordinatorMessage& message) {
  switch (message.body_case()) {
    case v1::CoordinatorMessage::kRunOffer:
      return OnOffer(message.run_offer());
    case v1::CoordinatorMessage::kSyncPlan:
      return OnPlan(message.sync_plan());
    case v1::CoordinatorMessage::kRoundStart:
      return OnStart(message.round_start());
    case v1::CoordinatorMessage::kReceipt:
      receipts.push_back(message.receipt());
      return Settle(message.receipt().round(), message.receipt().result() == v1::Receipt::INCLUDED);
    case v1::CoordinatorMessage::kCommit:
      return OnCommit(message.commit());
    case v1::CoordinatorMessage::kRunRefused:
      refused_with = message.run_refused().reason();
      return;
    case v1::CoordinatorMessage::kRunEnd:
      end = message.run_end();
      return;
    default:
      return;
  }
}

void FakeSite::OnOffer(const v1::RunOffer& offer) {
  v1::WorkerMessage message;
  message.mutable_run_answer()->set_run_id(offer.run_id());
  if (!refusal.empty()) {
    message.mutable_run_answer()->set_refusal(refusal);
    return Say(std::move(message));
  }
  if (run_id_ != offer.run_id()) {
    Forget();
    run_id_ = offer.run_id();
    model_ = std::make_unique<RunModel>(Must(RunModel::Of(offer.spec())));
    EXPECT_EQ(DigestBytes(model_->layout.hash()), offer.layout_hash());
    encoder_ = Must(optim::MakeUpdateEncoder(model_->options, model_->layout));
  }
  message.mutable_run_answer()->set_accepted(true);
  message.mutable_run_answer()->set_columns_digest(columns_digest);
  Say(std::move(message));
}

std::string FakeSite::Download(const v1::DownloadRequest& request) {
  const SharedBytes bytes = Must(federation_->coordinator().OpenDownload(request, name_));
  bytes_downloaded += bytes->size();
  return Must(ReadAll(*bytes));
}

void FakeSite::Apply(const std::string& record) {
  const absl::Status applied = optim::Apply(model_->options, model_->layout, Must(optim::DecodeCommit(record)), *state_);
  EXPECT_TRUE(applied.ok()) << applied;
}

void FakeSite::OnPlan(const v1::SyncPlan& plan) {
  plans.push_back(plan);
  if (idle) {
    return;
  }
  if (pending_.has_value() && pending_->round <= plan.target_round()) {
    Settle(pending_->round, plan.has_last_receipt() && plan.last_receipt().round() == pending_->round &&
                                plan.last_receipt().result() == v1::Receipt::INCLUDED);
  }
  v1::DownloadRequest request;
  request.set_run_id(plan.run_id());
  if (plan.needs_snapshot() && pending_.has_value() && pending_->round > plan.target_round() + 1) {
    Settle(pending_->round, false);  // the log was taken back
  }
  if (plan.needs_snapshot()) {
    request.set_snapshot_round(plan.snapshot_round());
    state_ = Must(optim::DecodeSnapshot(Download(request), model_->layout, optim::SlotCount(model_->options.mode)));
  }
  ASSERT_TRUE(state_.has_value());
  if (plan.first_commit() <= plan.target_round()) {
    request.mutable_commits()->set_first(plan.first_commit());
    request.mutable_commits()->set_last(plan.target_round());
    const std::string bytes = Download(request);
    const uint64_t count = plan.target_round() - plan.first_commit() + 1;
    for (const std::string& record : Must(optim::SplitCommitRecords(bytes, count))) {
      Apply(record);
    }
  }
  EXPECT_EQ(state_->round, plan.target_round());
  SayReady();
}

void FakeSite::SayReady() {
  v1::WorkerMessage message;
  message.mutable_ready()->set_run_id(run_id_);
  message.mutable_ready()->set_round(state_->round);
  message.mutable_ready()->set_state_hash(StateHash());
  Say(std::move(message));
}

void FakeSite::OnStart(const v1::RoundStart& start) {
  starts.push_back(start);
  ASSERT_EQ(start.round(), state_->round + 1);
  ASSERT_EQ(start.base_round(), start.round() - 1);
  ASSERT_EQ(start.base_state_hash(), StateHash());
  if (start.update_held() || silent) {
    return;
  }
  if (!pending_.has_value()) {
    optim::RoundParameters parameters;
    parameters.round = start.round();
    parameters.learning_rate = start.learning_rate();
    parameters.local_steps = start.local_steps();
    pending_ = Pending{start.round(), Must(encoder_->Encode(parameters, InventedGradient(number_, start.round(), model_->layout.size()))),
                       start.base_state_hash()};
  }
  ASSERT_EQ(pending_->round, start.round()) << "an update was never settled";
  SendPending(start.evaluate_base());
}

template <typename Report>
void FakeSite::AddEvaluation(Report& report) {
  if (withholds) {
    return;
  }
  JournaledEvaluation evaluation = {initial_loss - 0.1 * static_cast<double>(state_->round)};
  if (evaluate) {
    evaluate(state_->round, evaluation);
  }
  report.set_val_loss(static_cast<float>(evaluation.loss));
  SetMetrics(evaluation.metrics, *report.mutable_metrics());
}

void FakeSite::SendPending(bool asked_to_evaluate) {
  ++updates_sent[pending_->round];
  v1::WorkerMessage message;
  v1::Update& update = *message.mutable_update();
  update.set_run_id(run_id_);
  update.set_round(pending_->round);
  update.set_base_state_hash(pending_->base_hash);
  update.set_payload(pending_->payload);
  if (alter) {
    alter(*update.mutable_payload(), pending_->round);
  }
  update.mutable_report()->set_train_loss(static_cast<float>(initial_loss - 0.1 * static_cast<double>(pending_->round)));
  update.mutable_report()->set_compute_seconds(0.5f);
  if (model_->options.weighting == optim::Weighting::kSamples) {
    update.mutable_report()->set_samples(samples);
  }
  if (optim::StepsAreTimed(model_->options)) {
    update.mutable_report()->set_local_steps(static_cast<uint32_t>(local_steps + pending_->round));
  }
  if (asked_to_evaluate || evaluates_always) {
    AddEvaluation(*update.mutable_report());
  }
  if (update.payload().size() > federation_->config.max_inline()) {
    Upload(std::move(update));
  } else {
    Say(std::move(message));
  }
}

// As TransferService does.
void FakeSite::Upload(v1::Update update) {
  v1::UploadHeader header;
  header.mutable_id()->set_run_id(update.run_id());
  header.mutable_id()->set_round(update.round());
  header.mutable_id()->set_sha256(DigestBytes(Sha256(update.payload())));
  header.set_base_state_hash(update.base_state_hash());
  header.set_total_bytes(update.payload().size());
  *header.mutable_report() = update.report();
  Coordinator& coordinator = federation_->coordinator();
  const absl::StatusOr<std::unique_ptr<UploadPlace>> place = coordinator.CheckUpload(name_, header);
  if (!place.ok()) {
    return;
  }
  UploadedPayload payload;
  if (*place == nullptr) {
    payload.bytes = update.payload();
  } else {
    EXPECT_TRUE((*place)->writer->Append(update.payload()).ok());
    EXPECT_TRUE((*place)->writer->Finish().ok());
    payload.file = (*place)->file;
    payload.norm = (*place)->measure();
  }
  coordinator.UploadCompleted(name_, header, std::move(payload)).IgnoreError();  // the receipt says it
}

void FakeSite::Settle(uint64_t round, bool included) {
  if (pending_.has_value() && pending_->round == round) {
    encoder_->Settle(included ? optim::UpdateFate::kIncluded : optim::UpdateFate::kNotIncluded);
    pending_.reset();
  }
}

void FakeSite::OnCommit(const v1::Commit& commit) {
  if (pending_.has_value() && pending_->round <= commit.round()) {
    Settle(pending_->round, false);
  }
  std::string record = commit.record();
  if (record.empty()) {
    v1::DownloadRequest request;
    request.set_run_id(run_id_);
    request.mutable_commits()->set_first(commit.round());
    request.mutable_commits()->set_last(commit.round());
    record = Download(request).substr(4);
  }
  Apply(record);
  EXPECT_EQ(StateHash(), commit.state_hash());
  if (commit.report() && reports) {
    v1::WorkerMessage message;
    v1::StateReport& report = *message.mutable_state_report();
    report.set_run_id(run_id_);
    report.set_round(state_->round);
    report.set_state_hash(StateHash());
    AddEvaluation(report);
    Say(std::move(message));
  }
}

Federation::Federation(int sites, uint64_t snapshot_every, uint64_t max_inline) {
  config.set_federation("test");
  config.set_data_dir(folder_.path());
  config.mutable_lease()->set_seconds(30);
  config.mutable_snapshots()->set_every(snapshot_every);
  config.mutable_snapshots()->set_keep(1);
  config.set_max_inline(max_inline);
  config.set_max_update(uint64_t{1} << 30);
  config.mutable_drain_timeout()->set_seconds(20);
  config.add_operators("alice");
  for (int i = 0; i < sites; ++i) {
    AddSite(absl::StrCat("site-", i));
    sites_.push_back(std::make_unique<FakeSite>(this, absl::StrCat("site-", i), i));
  }
  const absl::Status started = Restart();
  EXPECT_TRUE(started.ok()) << started;
}

void Federation::AddSite(const std::string& name) {
  std::vector<std::string> names = registry.Names();
  names.push_back(name);
  registry.Replace(names);
}

Federation::~Federation() {
  Crash();
}

void Federation::Crash() {
  coordinator_.reset();
  journal_.reset();
  timers_.clear();
  for (const auto& site : sites_) {
    site->Disconnect();
  }
}

absl::Status Federation::Restart() {
  return Restart(-1, FaultyJournal::Fault::kNotWritten);
}

absl::Status Federation::Restart(int fail_at_write, FaultyJournal::Fault fault) {
  const auto tamper = journal_ == nullptr ? nullptr : journal_->tamper;
  Crash();
  fatal = absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Journal>> journal = OpenSqliteJournal(folder() + "/journal.db");
  if (!journal.ok()) {
    return journal.status();
  }
  journal_ = std::make_unique<FaultyJournal>(*std::move(journal));
  journal_->tamper = tamper;
  journal_->FailAt(fail_at_write, fault);
  Coordinator::Dependencies dependencies;
  dependencies.clock = &clock;
  dependencies.sites = &registry;
  dependencies.journal = journal_.get();
  absl::StatusOr<std::unique_ptr<FileStore>> snapshots = OpenFolder(folder() + "/snapshots");
  if (!snapshots.ok()) {
    return snapshots.status();
  }
  snapshots_ = *std::move(snapshots);
  dependencies.snapshots = snapshots_.get();
  dependencies.metrics = metrics;
  dependencies.memory = memory;
  dependencies.post_after = [this](absl::Duration delay, std::function<void()> work) {
    timers_.push_back(Timer{clock.Now() + delay, timers_made_++, std::move(work)});
  };
  dependencies.fatal = [this](const absl::Status& status) { fatal = status; };
  absl::StatusOr<std::unique_ptr<Coordinator>> coordinator = Coordinator::Create(config, std::move(dependencies));
  if (!coordinator.ok()) {
    return coordinator.status();
  }
  coordinator_ = *std::move(coordinator);
  coordinator_->SetRunObserver([this](const std::string& run_id) { notified.push_back(run_id); });
  return absl::OkStatus();
}

std::string Federation::NewestSnapshotFile() const {
  std::string newest;
  for (const auto& entry : std::filesystem::directory_iterator(folder() + "/snapshots")) {
    newest = std::max(newest, entry.path().string());
  }
  return newest;
}

void Federation::ConnectAll() {
  for (const auto& site : sites_) {
    if (alive() && !site->connected()) {
      site->Connect();
    }
  }
  Settle();
}

void Federation::Settle() {
  for (bool busy = true; busy && alive();) {
    busy = false;
    for (const auto& site : sites_) {
      busy |= alive() && site->Pump();
    }
    const auto due = std::min_element(timers_.begin(), timers_.end(), [](const Timer& a, const Timer& b) {
      return std::pair(a.due, a.number) < std::pair(b.due, b.number);
    });
    if (!busy && due != timers_.end() && due->due <= clock.Now()) {
      const std::function<void()> work = std::move(due->work);
      timers_.erase(due);
      work();
      busy = true;
    }
  }
}

// In steps short enough for heartbeats to keep the leases of connected sites.
void Federation::Advance(absl::Duration time) {
  for (absl::Duration step; time > absl::ZeroDuration() && alive(); time -= step) {
    step = std::min(time, absl::Seconds(5));
    clock.Advance(step);
    for (const auto& site : sites_) {
      v1::WorkerMessage heartbeat;
      heartbeat.mutable_heartbeat();
      site->Say(std::move(heartbeat));
    }
    Settle();
  }
}

v1::RunStatus Federation::Status(const std::string& run) {
  return Must(coordinator_->GetRun(run));
}

void Federation::RunToEnd(const std::string& run, absl::Duration limit) {
  Settle();
  for (absl::Duration spent; alive() && spent < limit; spent += absl::Seconds(5)) {
    const v1::RunState state = Status(run).state();
    if (state == v1::FINISHED || state == v1::FAILED || state == v1::STOPPED) {
      return;
    }
    ConnectAll();
    Advance(absl::Seconds(5));
  }
}

std::string Submit(Federation& federation, const v1::RunSpec& spec) {
  const absl::StatusOr<v1::RunStatus> status = federation.coordinator().SubmitRun(spec, "anna");
  EXPECT_TRUE(status.ok()) << status.status();
  return status.ok() ? status->run_id() : "";
}

void TellCapabilities(Federation& federation) {
  for (int i = 0; i < federation.size(); ++i) {
    federation.site(i).alter_hello = [](v1::Hello& hello) {
      for (const std::string& word : OwnCapabilities()) {
        hello.add_capabilities(word);
      }
    };
  }
}

void ConnectAllOfThisRelease(Federation& federation) {
  TellCapabilities(federation);
  federation.ConnectAll();
}

std::string CommonHash(Federation& federation, const std::string& run) {
  const v1::RunStatus status = federation.Status(run);
  for (int i = 0; i < federation.size(); ++i) {
    EXPECT_EQ(federation.site(i).StateHash(), status.state_hash()) << federation.site(i).name();
  }
  return status.state_hash();
}

v1::SiteStatus SiteOf(const v1::RunStatus& status, const std::string& name) {
  for (const v1::SiteStatus& site : status.sites()) {
    if (site.site() == name) {
      return site;
    }
  }
  ADD_FAILURE() << "no site " << name;
  return {};
}

v1::WorkerMessage UpdateMessage(const std::string& run, uint64_t round, const std::string& base, const std::string& payload) {
  v1::WorkerMessage message;
  message.mutable_update()->set_run_id(run);
  message.mutable_update()->set_round(round);
  message.mutable_update()->set_base_state_hash(base);
  message.mutable_update()->set_payload(payload);
  return message;
}

}  // namespace tributary::coordinator
