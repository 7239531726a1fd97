#include "coordinator/run/run_host.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/run/log_keeping.h"
#include "coordinator/run/timed_steps.h"
#include "optim/snapshot.h"
#include "proto/durations.h"

namespace tributary::coordinator {

namespace {

// What a modest disk reads, with the checksums of what it reads: part of what a replay takes.
constexpr double kReadBytesPerSecond = 200e6;

}  // namespace

std::string WhyBounded(const MeasuredUpdate& update) {
  return update.share == 0 ? "its updates oppose what the others send, or agree with themselves alone: they are left out until that "
                             "changes (optimizer.aggregation: agreement)"
                           : absl::StrCat("its update's norm is ", update.norm, ": it is summed scaled down to ", update.share,
                                          " of itself, as all that come so large (optimizer.norm_bound)");
}

RunHost::RunHost(const JournaledRun& run, std::shared_ptr<const RunModel> model, const Keeping& keeping, Journal* journal,
                 SnapshotStore* store, const Clock* clock)
    : run_id_(run.run_id),
      model_(std::move(model)),
      keeping_(keeping),
      journal_(journal),
      store_(store),
      clock_(clock),
      log_(run.run_id, model_.get(), journal, store) {}

absl::StatusOr<std::unique_ptr<RunHost>> RunHost::Open(const JournaledRun& run, const Keeping& keeping, Journal* journal,
                                                       SnapshotStore* store, const Clock* clock) {
  TRIBUTARY_ASSIGN_OR_RETURN(RunModel model, RunModel::Of(run.spec));
  auto host = absl::WrapUnique(new RunHost(run, std::make_shared<const RunModel>(std::move(model)), keeping, journal, store, clock));
  TRIBUTARY_ASSIGN_OR_RETURN(host->aggregator_, optim::MakeAggregator(host->model_->options, host->model_->layout));
  TRIBUTARY_RETURN_IF_ERROR(Annotate(host->Recover(), absl::StrCat("run ", run.run_id)));
  return host;
}

RunPosition RunHost::position() const {
  RunPosition position{.committed = state_.round,
                       .state_hash = state_hash(),
                       .base_state_hash = hashes_[BaseRound(hashes_.size(), model_->spec.pipeline() != 0)],
                       .open = std::nullopt};
  if (open_round_ != 0) {
    position.open.emplace();
    position.open->round = open_round_;
    position.open->members = members_;
    for (const auto& [site, update] : accepted_) {
      position.open->accepted[site] = update.digest;
    }
  }
  return position;
}

optim::RoundParameters RunHost::ParametersOf(uint64_t round) const {
  return coordinator::ParametersOf(*model_, round, local_steps_[ReferenceRound(*model_, round)]);
}

absl::StatusOr<std::vector<std::string>> RunHost::LikelySites() {
  if (open_round_ != 0) {
    return members_;
  }
  if (state_.round == 0) {
    return std::vector<std::string>();
  }
  TRIBUTARY_ASSIGN_OR_RETURN(JournaledCommit commit, Commit(state_.round));
  return std::move(commit.included);
}

std::map<std::string, v1::UpdateReport> RunHost::reports() const {
  std::map<std::string, v1::UpdateReport> reports;
  for (const auto& [site, update] : accepted_) {
    reports[site] = update.report;
  }
  return reports;
}

absl::Status RunHost::StartRound(uint64_t round, const std::vector<std::string>& members) {
  JournaledRound started;
  started.round = round;
  started.members = members;
  // A round that is started again with other members keeps what it had accepted, as after a restart; it sums it anew.
  if (!accepted_.empty()) {
    TRIBUTARY_RETURN_IF_ERROR(journal_->VisitUpdates(run_id_, open_round_, [this](const JournaledUpdate& update) -> absl::Status {
      TRIBUTARY_ASSIGN_OR_RETURN(const uint32_t weight, optim::WeightOf(model_->options, update.report.samples()));
      const SharedBytes& stored = accepted_.at(update.site).stored;
      return stored == nullptr ? aggregator_->Remove(update.payload, weight, update.site)
                               : aggregator_->RemoveStored(stored, weight, update.site);
    }));
    accepted_.clear();
  }
  TRIBUTARY_RETURN_IF_ERROR(journal_->StartRound(run_id_, started));
  return ResumeOpenRound().status();
}

absl::StatusOr<MeasuredUpdate> RunHost::CheckUpdate(const std::string& site, const IncomingUpdate& update) const {
  MeasuredUpdate measured;
  TRIBUTARY_ASSIGN_OR_RETURN(measured.norm, update.norm);
  TRIBUTARY_RETURN_IF_ERROR(optim::WeightOf(model_->options, update.report.samples()).status());
  if (update.file.empty()) {
    if (update.payload.size() > model_->max_payload) {
      return absl::InvalidArgumentError(
          absl::StrCat(update.payload.size(), " bytes; an update of this run has at most ", model_->max_payload));
    }
    TRIBUTARY_ASSIGN_OR_RETURN(measured.norm, aggregator_->Measure(update.payload));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(measured.share, aggregator_->ShareOf(measured.norm, site));
  return measured;
}

bool RunHost::KeepsUpdateFiles() const {
  return journal_->KeepsFiles() && optim::UpdatesStayStored(model_->options.mode);
}

absl::Status RunHost::AcceptUpdates(absl::Span<const JournaledUpdate> updates, absl::Span<const double> norms,
                                    const UpdatesAccepted& accepted) {
  TRIBUTARY_RETURN_IF_ERROR(journal_->AddUpdates(run_id_, open_round_, updates));
  for (size_t i = 0; i < updates.size(); ++i) {
    const absl::Time start = clock_->Now();
    TRIBUTARY_ASSIGN_OR_RETURN(SharedBytes stored, SumUpdate(*model_, *store_, updates[i], *aggregator_, norms[i]));
    replay_cost_ += clock_->Now() - start;
    CountLogged(updates[i].bytes());
    accepted_[updates[i].site] = Accepted{accepted.updates[i].digest, updates[i].report, std::move(stored)};
  }
  return absl::OkStatus();
}

bool RunHost::IsLong() const {
  return KeepsUpdateFiles() && !accepted_.empty() &&
         optim::FixedRecordBytes(model_->options, model_->layout).value_or(0) > keeping_.max_inline;
}

absl::StatusOr<PendingCommit> RunHost::MakeCommit() {
  PendingCommit pending;
  std::string bytes;
  std::unique_ptr<FileStore::Writer> writer;
  if (IsLong()) {
    pending.file = SnapshotStore::CommitFile(run_id_, open_round_);
    TRIBUTARY_ASSIGN_OR_RETURN(writer, store_->Create(pending.file));
  }
  const absl::Time start = clock_->Now();
  const auto sink = [&](absl::string_view piece) {
    if (writer != nullptr) {
      return writer->Append(piece);
    }
    bytes.append(piece.data(), piece.size());
    return absl::OkStatus();
  };
  TRIBUTARY_ASSIGN_OR_RETURN(pending.head, aggregator_->FinishRecord(sink, model_->threads));
  replay_cost_ += clock_->Now() - start;
  if (writer == nullptr) {
    pending.record = InMemory(std::move(bytes));
  } else {
    TRIBUTARY_RETURN_IF_ERROR(writer->Finish());
    TRIBUTARY_ASSIGN_OR_RETURN(pending.record, store_->Open(pending.file));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(pending.chain_hash, optim::ChainHash(chain_hash_, *pending.record));
  return pending;
}

absl::Status RunHost::ApplyCommit(PendingCommit& pending) {
  const absl::Time start = clock_->Now();
  TRIBUTARY_RETURN_IF_ERROR(optim::ApplyRecord(model_->options, model_->layout, *pending.record, state_, model_->threads));
  replay_cost_ += clock_->Now() - start;
  pending.state_hash = optim::StateHash(model_->layout, state_, model_->threads, block_hashes_);
  return absl::OkStatus();
}

absl::Status RunHost::AppendCommit(const PendingCommit& pending, const v1::RoundRecord& record, std::vector<v1::SiteStatus> site_totals,
                                   Arrivals arrivals) {
  JournaledCommit commit;
  if (pending.file.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(commit.record, ReadAll(*pending.record));
  } else {
    commit.file = pending.file;
    commit.file_bytes = pending.record->size();
  }
  commit.chain_hash = pending.chain_hash;
  commit.state_hash = pending.state_hash;
  commit.round_record = record;
  for (const auto& [site, update] : accepted_) {
    commit.included.push_back(site);
    last_included_[site] = pending.head.round;
  }
  commit.site_totals = std::move(site_totals);
  commit.arrivals = std::move(arrivals);
  TRIBUTARY_RETURN_IF_ERROR(journal_->AddCommit(run_id_, pending.head.round, commit));
  chain_hash_ = pending.chain_hash;
  hashes_.push_back(DigestBytes(pending.state_hash));
  record_bytes_.push_back(record_bytes_.back() + pending.record->size());
  local_steps_.push_back(record.local_steps());
  CountLogged(pending.record->size());
  open_round_ = 0;
  members_.clear();
  accepted_.clear();
  return absl::OkStatus();
}

void RunHost::CountLogged(uint64_t bytes) {
  log_bytes_ += bytes;
  replay_cost_ += absl::Seconds(static_cast<double>(bytes) / kReadBytesPerSecond);
}

bool RunHost::SnapshotDue() const {
  const v1::SnapshotConfig& config = keeping_.snapshots;
  const uint64_t newest = snapshots_.rbegin()->first;
  const absl::Duration replay = DurationOf(config.replay());
  return state_.round - newest >= config.every() || (config.log() > 0 && log_bytes_ >= config.log()) ||
         (replay > absl::ZeroDuration() && replay_cost_ >= replay);
}

void RunHost::PrepareSnapshot() {
  prepared_aggregator_ = aggregator_->SaveState();
  // What is logged from now on, the snapshot does not cover.
  replay_cost_ = absl::ZeroDuration();
  log_bytes_ = 0;
}

absl::Status RunHost::SaveSnapshot(const std::set<uint64_t>& wanted) {
  if (!snapshots_.contains(state_.round)) {
    if (!prepared_aggregator_.has_value()) {
      PrepareSnapshot();
    }
    JournaledSnapshot snapshot;
    snapshot.round = state_.round;
    std::copy(state_hash().begin(), state_hash().end(), snapshot.state_hash.begin());
    const std::string aggregator_state = *std::exchange(prepared_aggregator_, std::nullopt);
    snapshot.aggregator_hash = Sha256(aggregator_state);
    TRIBUTARY_ASSIGN_OR_RETURN(snapshot.aggregator_file, store_->SaveAggregator(run_id_, state_.round, aggregator_state));
    TRIBUTARY_ASSIGN_OR_RETURN(snapshot.file, store_->Save(run_id_, state_.round, [this](ByteSink sink) {
      return optim::WriteSnapshot(model_->layout, state_, sink);
    }));
    TRIBUTARY_RETURN_IF_ERROR(WithTheirFiles([&] { return journal_->AddSnapshot(run_id_, snapshot); }));
    snapshots_[snapshot.round] = snapshot;
  }
  // Also what a crash after an earlier snapshot has left.
  TRIBUTARY_RETURN_IF_ERROR(PruneSnapshots(wanted));
  return PruneLog();
}

absl::Status RunHost::PruneSnapshots(const std::set<uint64_t>& wanted) {
  // The initial weights stay, besides the newest `keep`. A site that joins a pipelined run starts from the one before the newest
  // (PlanSync), which must not be the initial weights if the commits after those are gone.
  const uint32_t least = (Prunes(keeping_.log) || pruned_ > 0) && model_->spec.pipeline() != 0 ? 2 : 1;
  const size_t kept = std::min<size_t>(snapshots_.size() - 1, std::max(least, keeping_.snapshots.keep()));
  const uint64_t first_kept = kept == 0 ? UINT64_MAX : std::prev(snapshots_.end(), static_cast<int64_t>(kept))->first;
  for (auto old = std::next(snapshots_.begin()); old != snapshots_.end() && old->first < first_kept;) {
    if (wanted.contains(old->first)) {
      ++old;
      continue;
    }
    TRIBUTARY_RETURN_IF_ERROR(journal_->RemoveSnapshot(run_id_, old->first));
    TRIBUTARY_RETURN_IF_ERROR(store_->Remove(old->second.file));
    TRIBUTARY_RETURN_IF_ERROR(store_->Remove(old->second.aggregator_file));
    old = snapshots_.erase(old);
  }
  return absl::OkStatus();
}

absl::Status RunHost::PruneLog() {
  const auto oldest = std::next(snapshots_.begin());
  const bool only_one = oldest == snapshots_.end() || std::next(oldest) == snapshots_.end();
  if (!journal_->CanPrune() || oldest == snapshots_.end() || (only_one && model_->spec.pipeline() != 0)) {
    return absl::OkStatus();
  }
  uint64_t last = PrunableThrough(keeping_.log, record_bytes_, oldest->first);
  if (last == state_.round && last > 0 && record_bytes_[last] - record_bytes_[last - 1] > keeping_.max_inline) {
    --last;  // sites were told of it a moment ago, and have yet to fetch it
  }
  if (last > pruned_) {
    return WithTheirFiles([&]() -> absl::Status {
      TRIBUTARY_ASSIGN_OR_RETURN(pruned_, journal_->PruneCommits(run_id_, last));
      return absl::OkStatus();
    });
  }
  return absl::OkStatus();
}

absl::Status RunHost::WithTheirFiles(absl::FunctionRef<absl::Status()> prune) {
  if (!KeepsUpdateFiles()) {
    return prune();
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> before, journal_->PayloadFiles(run_id_));
  TRIBUTARY_RETURN_IF_ERROR(prune());
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> named, journal_->PayloadFiles(run_id_));
  const std::set<std::string> kept(named.begin(), named.end());
  for (const std::string& file : before) {
    if (!kept.contains(file)) {
      TRIBUTARY_RETURN_IF_ERROR(store_->Remove(file));
    }
  }
  return absl::OkStatus();
}

bool RunHost::StillServes(const v1::SyncPlan& plan) const {
  if (!plan.needs_snapshot()) {
    return LeadsOnFrom(plan.first_commit() - 1);
  }
  return snapshots_.contains(plan.snapshot_round()) && LeadsOnFrom(plan.snapshot_round()) &&
         record_bytes_.back() - record_bytes_[plan.snapshot_round()] <= model_->SnapshotBytes();
}

bool RunHost::Agrees(uint64_t round, absl::string_view state_hash) const {
  return round < hashes_.size() && hashes_[round] == state_hash;
}

absl::StatusOr<uint64_t> RunHost::LastIncluded(const std::string& site) {
  // The replay since the last snapshot has not seen every site.
  const auto it = last_included_.find(site);
  if (it != last_included_.end()) {
    return it->second;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t round, journal_->LastIncluded(run_id_, site));
  last_included_[site] = round;
  return round;
}

v1::SyncPlan RunHost::PlanSync(const std::optional<v1::HeldState>& held, absl::string_view reason) const {
  v1::SyncPlan plan;
  plan.set_run_id(run_id_);
  // In a pipelined run a site trains from the state before the last, so it must have applied a commit itself: then it has held that state.
  auto newest = std::prev(snapshots_.end());
  if (model_->spec.pipeline() != 0 && newest->first == state_.round && newest != snapshots_.begin()) {
    --newest;
  }
  uint64_t from = newest->first;
  bool needs_snapshot = true;
  if (held.has_value() && held->run_id() == run_id_ && !held->state_hash().empty()) {
    if (!Agrees(held->round(), held->state_hash())) {
      plan.set_reason(!reason.empty() ? std::string(reason) : absl::StrCat("state[", held->round(), "] differs from this run's log"));
    } else {
      const uint64_t commits = record_bytes_.back() - record_bytes_[held->round()];
      const uint64_t snapshot = model_->SnapshotBytes() + record_bytes_.back() - record_bytes_[from];
      if (from <= held->round() || (LeadsOnFrom(held->round()) && commits <= snapshot)) {
        from = held->round();
        needs_snapshot = false;
      }
    }
  } else if (!reason.empty()) {
    plan.set_reason(std::string(reason));
  }
  plan.set_needs_snapshot(needs_snapshot);
  plan.set_snapshot_round(needs_snapshot ? from : 0);
  plan.set_first_commit(from + 1);
  // As far as one download goes; after Ready the site is told the rest.
  uint64_t target = state_.round;
  if (record_bytes_[target] - record_bytes_[from] > kMaxCommitDownload) {
    const auto beyond = std::upper_bound(record_bytes_.begin() + from, record_bytes_.end(), record_bytes_[from] + kMaxCommitDownload);
    target = std::max<uint64_t>(from + 1, beyond - record_bytes_.begin() - 1);
  }
  plan.set_target_round(target);
  return plan;
}

}  // namespace tributary::coordinator
