// What the tests of the round engine share.
#ifndef TRIBUTARY_TESTS_COORDINATOR_RUN_ROUND_ENGINE_SUPPORT_H_
#define TRIBUTARY_TESTS_COORDINATOR_RUN_ROUND_ENGINE_SUPPORT_H_

#include <gtest/gtest.h>

#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/run/round_engine.h"

namespace tributary::coordinator {

// An engine with its sites and a clock that moves when told.
class RoundEngineTest : public ::testing::Test {
 protected:
  static RoundPolicy Policy() {
    RoundPolicy policy;
    policy.rounds = 3;
    policy.min_workers = 2;
    policy.max_workers = 4096;
    policy.quorum = 0.5;
    policy.min_deadline = absl::Seconds(1);
    policy.max_deadline = absl::Seconds(60);
    policy.wait_timeout = absl::Minutes(5);
    policy.evaluate_every = 1000000;
    return policy;
  }

  RoundEngine& Start(const RoundPolicy& policy = Policy(),
                     const RunPosition& position = {.committed = 0, .state_hash = "h0", .base_state_hash = "h0", .open = std::nullopt}) {
    engine_.emplace(policy, position, At());
    return *engine_;
  }
  Instant At() const { return {now_, absl::FromUnixSeconds(1767225600) + (now_ - absl::UnixEpoch())}; }  // wall: from 2026-01-01
  std::vector<Action> Step(const Event& event) {
    std::vector<Action> actions = engine_->Step(event, membership_, At());
    // Every wait says why, and has a bound that is still to come: but for an operator, the driver's answer, and the end.
    EXPECT_FALSE(engine_->reason().empty());
    EXPECT_GT(engine_->wake_at(), now_) << engine_->reason();
    if (!engine_->paused() && actions.empty() && (engine_->state() == v1::WAITING || engine_->open_round() != 0)) {
      EXPECT_LT(engine_->wake_at(), absl::InfiniteFuture()) << engine_->reason();
    }
    return actions;
  }
  std::vector<Action> After(absl::Duration time) {
    now_ += time;
    for (const std::string& site : connected_) {
      membership_.Heard(site, now_);
    }
    membership_.Expire(now_);
    return Step(TimePassed{});
  }
  void Connect(const std::string& site) {
    membership_.Connected(site, now_);
    connected_.insert(site);
  }
  std::vector<Action> Ready(const std::string& site) {
    Connect(site);
    membership_.Set(site, Presence::kReady);
    return Step(SiteReady{site});
  }
  std::vector<Action> Drop(const std::string& site) {
    membership_.Dropped(site);
    connected_.erase(site);
    return Step(MembersChanged{});
  }
  std::vector<Action> Accept(const std::string& site) { return Step(UpdateAccepted{site, "digest of " + site}); }
  // Answers CloseRound.
  std::vector<Action> Commit() { return Step(RoundCommitted{absl::StrCat("h", engine_->committed() + 1)}); }
  // Both a and b answer after this time.
  void CommitRoundAfter(absl::Duration time) {
    After(time);
    Accept("a");
    Accept("b");
    Commit();
  }
  // Starts round 1 with these members.
  void StartRoundWith(const std::vector<std::string>& sites, RoundPolicy policy = Policy()) {
    policy.min_workers = static_cast<uint32_t>(sites.size());
    Start(policy);
    for (const std::string& site : sites) {
      Ready(site);
    }
    ASSERT_EQ(engine_->open_round(), 1u);
  }

  absl::Time now_ = absl::UnixEpoch();
  Membership membership_{absl::Seconds(30)};
  std::set<std::string> connected_;
  std::optional<RoundEngine> engine_;
};

template <typename T>
const T* Only(const std::vector<Action>& actions) {
  return actions.size() == 1 ? std::get_if<T>(&actions[0]) : nullptr;
}

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_TESTS_COORDINATOR_RUN_ROUND_ENGINE_SUPPORT_H_
