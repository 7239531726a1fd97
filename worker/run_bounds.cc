#include "worker/run_bounds.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/names.h"
#include "optim/commit.h"

namespace tributary::worker {
namespace {

// Headers and trailers of snapshots, generously.
constexpr uint64_t kSnapshotOverhead = 64 << 10;
constexpr uint64_t kCommitsInMemory = uint64_t{64} << 20;
constexpr size_t kMostCommitsWait = 1024;

uint64_t SaturatingMultiply(uint64_t a, uint64_t b) {
  uint64_t product;
  return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

absl::Status Beyond(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the coordinator says what no run of this worker can need: ", what));
}

// Of the run that is taken part in.
struct Bounds {
  uint64_t rounds = 0;
  uint64_t commit_bytes = 0;
};

absl::Status CheckRound(absl::string_view what, uint64_t round, const Bounds& run) {
  return round <= run.rounds ? absl::OkStatus() : Beyond(absl::StrCat(what, " of round ", round, ", and the run has ", run.rounds));
}

absl::Status Check(const v1::SyncPlan& plan, const Bounds& run) {
  if (plan.needs_snapshot() && plan.snapshot_round() > plan.target_round()) {
    return Beyond(absl::StrCat("a plan to round ", plan.target_round(), " from the snapshot of round ", plan.snapshot_round()));
  }
  return CheckRound("a plan to the state", plan.target_round(), run);
}

absl::Status Check(const v1::RoundStart& start, const Bounds& run) {
  if (start.base_round() >= start.round()) {
    return Beyond(absl::StrCat("round ", start.round(), " from the state of round ", start.base_round()));
  }
  return CheckRound("the start", start.round(), run);
}

absl::Status Check(const v1::Commit& commit, const Bounds& run) {
  if (commit.record().size() > run.commit_bytes) {
    return Beyond(absl::StrCat("a commit of ", commit.record().size(), " bytes where the model takes ", run.commit_bytes));
  }
  return CheckRound("a commit", commit.round(), run);
}

}  // namespace

absl::Status CheckMessage(const v1::CoordinatorMessage& message, const v1::RunOffer* offer, const RunSize& size) {
  const auto of_run = [&](const auto& body) {
    return offer != nullptr && body.run_id() == offer->run_id() ? Check(body, {offer->spec().rounds(), size.commit_bytes})
                                                                : absl::OkStatus();
  };
  switch (message.body_case()) {
    case v1::CoordinatorMessage::kRunOffer:
      return IsRunId(message.run_offer().run_id())
                 ? absl::OkStatus()
                 : Beyond(absl::StrCat("a run whose id has ", message.run_offer().run_id().size(),
                                       " bytes and is not made of lower-case letters, digits and hyphens, 100 at most"));
    case v1::CoordinatorMessage::kSyncPlan:
      return of_run(message.sync_plan());
    case v1::CoordinatorMessage::kRoundStart:
      return of_run(message.round_start());
    case v1::CoordinatorMessage::kCommit:
      return of_run(message.commit());
    default:
      return absl::OkStatus();
  }
}

uint64_t MaxSnapshotBytes(const RunSize& size) {
  const uint64_t numbers = SaturatingMultiply(4, 1 + size.slots);
  const uint64_t state = SaturatingMultiply(numbers, size.parameters);
  return state > UINT64_MAX - kSnapshotOverhead ? UINT64_MAX : state + kSnapshotOverhead;
}

uint64_t MaxCommitBytes(const RunSize& size, uint64_t count) {
  return SaturatingMultiply(count, size.commit_bytes + optim::kCommitRecordPrefixBytes);
}

uint64_t CommitsAtOnce(const RunSize& size) {
  return std::max<uint64_t>(1, kCommitsInMemory / (size.commit_bytes + optim::kCommitRecordPrefixBytes));
}

bool EnoughCommitsWait(const std::deque<v1::Commit>& waiting) {
  uint64_t bytes = 0;
  for (const v1::Commit& commit : waiting) {
    bytes += commit.record().size();
  }
  return waiting.size() >= kMostCommitsWait || bytes >= kCommitsInMemory;
}

}  // namespace tributary::worker
