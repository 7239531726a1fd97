// What sites report of the model's states: over all and of each, in history and status, over restarts; and a run that ends by it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "coordinator/journal/journal_disk.h"
#include "coordinator/journal/journal_format.h"
#include "coordinator/own_runs.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const OperatorAct kAnna{"anna", ""};
constexpr uint64_t kRounds = 20;
// The loss falls up to here, and rises after.
constexpr uint64_t kBest = 6;

v1::RunSpec Spec(const std::string& stop_when, uint64_t rounds = kRounds) {
  return MakeSpec("toy", rounds, 2, "distro",
                  absl::StrCat("evaluation: {every: 2, metrics: [accuracy, f1]}\nstop_when: {", stop_when, "}"));
}

void Evaluate(uint64_t round, JournaledEvaluation& evaluation) {
  const double distance = round > kBest ? static_cast<double>(round - kBest) : static_cast<double>(kBest - round);
  evaluation.loss = 1 + distance / 4;
  evaluation.metrics = {{"accuracy", 1 - distance / 32}, {"auroc", 0.5}};
}

struct Ended {
  uint64_t round = 0;
  std::string reason;
  std::string state_hash;
  bool operator==(const Ended&) const = default;
};

Ended EndOf(Federation& federation, const std::string& run) {
  federation.RunToEnd(run);
  const v1::RunStatus status = federation.Status(run);
  EXPECT_EQ(status.state(), v1::FINISHED) << status.reason();
  return {status.round(), status.reason(), CommonHash(federation, run)};
}

class EvaluationsTest : public ::testing::Test {
 protected:
  std::string Begin(const v1::RunSpec& spec) {
    for (int i = 0; i < federation_.size(); ++i) {
      federation_.site(i).evaluate = Evaluate;
    }
    const std::string run = Submit(federation_, spec);
    ConnectAllOfThisRelease(federation_);
    return run;
  }
  // The sites have lost their states meanwhile.
  void TakeBack(const std::string& run, uint64_t round) {
    ASSERT_TRUE(federation_.journal().Truncate(run, round, [] { return std::nullopt; }).ok());
    ASSERT_TRUE(federation_.Restart().ok());
    for (int i = 0; i < federation_.size(); ++i) {
      federation_.site(i).Forget();
    }
  }
  Federation federation_{2};
};

TEST_F(EvaluationsTest, MetricsAreInHistoryAndStatusOverAllAndOfEachSite) {
  federation_.site(1).withholds = true;
  const std::string run = Begin(Spec("patience: 100"));
  EndOf(federation_, run);
  for (const bool restarted : {false, true}) {
    SCOPED_TRACE(restarted);
    const v1::RunHistory history = *federation_.coordinator().GetRunHistory(run);
    const v1::RoundRecord& best = history.rounds(kBest);
    ASSERT_EQ(best.metrics_size(), 1) << "f1 is reported by nobody, and auroc not asked for";
    EXPECT_EQ(best.metrics(0).name(), "accuracy");
    EXPECT_DOUBLE_EQ(best.metrics(0).value(), 1);
    EXPECT_TRUE(history.rounds(kBest + 1).metrics().empty());
    const v1::RunStatus status = federation_.Status(run);
    ASSERT_EQ(status.metrics_size(), 1);
    EXPECT_DOUBLE_EQ(status.metrics(0).value(), 1 - 14.0 / 32);
    EXPECT_EQ(status.best_round(), kBest);
    EXPECT_EQ(status.best().name(), "loss");
    EXPECT_DOUBLE_EQ(status.best().value(), 1);
    EXPECT_DOUBLE_EQ(SiteOf(status, "site-0").metrics(0).value(), 1 - 14.0 / 32);
    EXPECT_FALSE(SiteOf(status, "site-1").has_val_loss());
    EXPECT_TRUE(SiteOf(status, "site-1").metrics().empty());
    ASSERT_TRUE(federation_.Restart().ok());
  }
}

TEST_F(EvaluationsTest, ARunThatGetsNoBetterEndsBeforeItsLastRound) {
  const std::string run = Begin(Spec("patience: 2"));
  const Ended ended = EndOf(federation_, run);
  // Round 11 brings the evaluation of state[10], the second one after the best.
  EXPECT_EQ(ended.round, 11u);
  EXPECT_EQ(ended.reason, "validation loss has not improved on 1 of round 6 in the last 2 evaluations; ended after round 11 of 20");
  EXPECT_EQ(federation_.site(0).end->reason(), ended.reason);
  EXPECT_TRUE(federation_.coordinator().GetRunHistory(run)->rounds(11).has_val_loss()) << "of the final reports";
}

TEST_F(EvaluationsTest, ARunMayEndByAMetric) {
  const std::string run = Begin(Spec("metric: accuracy, patience: 1"));
  EXPECT_EQ(EndOf(federation_, run).reason, "accuracy has not improved on 1 of round 6 in the last evaluation; ended after round 9 of 20");
}

TEST_F(EvaluationsTest, NoSiteEndsARunWithEvaluationsThatNobodyAskedFor) {
  federation_.site(1).evaluates_always = true;
  const std::string run = Begin(Spec("patience: 2"));
  EXPECT_EQ(EndOf(federation_, run).round, 11u);
}

TEST_F(EvaluationsTest, AnExtendedRunIsJudgedAnew) {
  const std::string run = Begin(Spec("patience: 2"));
  ASSERT_EQ(EndOf(federation_, run).round, 11u);
  EXPECT_THAT(std::string(federation_.coordinator().ExtendRun(run, kRounds - 1, kAnna).status().message()), HasSubstr("at least that"));
  const absl::StatusOr<v1::RunStatus> extended = federation_.coordinator().ExtendRun(run, kRounds, kAnna);
  ASSERT_TRUE(extended.ok()) << extended.status();
  EXPECT_EQ(extended->spec().stop_when().after(), 11u);
  const Ended ended = EndOf(federation_, run);
  EXPECT_EQ(ended.round, 15u) << "two evaluations more, of rounds 12 and 14";
  EXPECT_THAT(ended.reason, HasSubstr("on 1 of round 6"));
}

TEST_F(EvaluationsTest, ExtendedWhileItAwaitsItsLastReportsItGoesOn) {
  federation_.site(1).reports = false;
  const std::string run = Begin(Spec("patience: 2"));
  ASSERT_THAT(federation_.Status(run).reason(), HasSubstr("ended after round 11 of 20; waiting for the final state of site-1"));
  ASSERT_TRUE(federation_.coordinator().ExtendRun(run, kRounds, kAnna).ok());
  federation_.site(1).reports = true;
  EXPECT_EQ(EndOf(federation_, run).round, 15u);
}

TEST_F(EvaluationsTest, ARunThatHasGotNoBetterAtItsLastRoundHasNoRoundsLeftAndIsJudgedAnewWithMore) {
  federation_.site(1).reports = false;
  const std::string run = Begin(Spec("patience: 2", 11));
  ASSERT_THAT(federation_.Status(run).reason(), HasSubstr("all 11 rounds committed; waiting for the final state of site-1"));
  const auto extend = [&](uint64_t rounds) { return federation_.coordinator().ExtendRun(run, rounds, kAnna).status(); };
  EXPECT_THAT(std::string(extend(11).message()), HasSubstr("more than that"));
  ASSERT_EQ(EndOf(federation_, run).round, 11u);
  EXPECT_THAT(std::string(extend(11).message()), HasSubstr("more than that"));
  ASSERT_TRUE(extend(kRounds).ok());
  EXPECT_EQ(EndOf(federation_, run).round, 15u);
}

TEST_F(EvaluationsTest, ARunThatIsTakenBackIsJudgedFromThereOn) {
  federation_.config.mutable_snapshots()->set_keep(10);
  ASSERT_TRUE(federation_.Restart().ok());
  const std::string run = Begin(Spec("patience: 2"));
  ASSERT_EQ(EndOf(federation_, run).round, 11u);
  ASSERT_TRUE(federation_.coordinator().ExtendRun(run, kRounds, kAnna).ok());
  ASSERT_EQ(EndOf(federation_, run).round, 15u);
  TakeBack(run, 8);
  EXPECT_EQ(EndOf(federation_, run).round, 13u) << "two evaluations more, of rounds 10 and 12";
}

TEST_F(EvaluationsTest, ARunThatIsTakenBackToItsEarlyEndIsExtendedFromThere) {
  const std::string run = Begin(Spec("patience: 2"));
  ASSERT_EQ(EndOf(federation_, run).round, 11u);
  federation_.site(0).silent = true;
  const std::string ahead = Submit(federation_, MakeSpec("ahead", 2, 2));
  federation_.Settle();
  TakeBack(run, 11);
  ASSERT_EQ(federation_.Status(run).state(), v1::SUBMITTED);
  const absl::StatusOr<v1::RunStatus> extended = federation_.coordinator().ExtendRun(run, kRounds, kAnna);
  ASSERT_TRUE(extended.ok()) << extended.status();
  EXPECT_EQ(extended->spec().stop_when().after(), 11u);
}

// Whoever reports the last state first makes the other miss the commit: its own report comes when it is back.
class LastReports : public EvaluationsTest {
 protected:
  std::string BeginAndReportOnce() {
    for (const int i : {0, 1}) {
      federation_.site(i).evaluate = [this, i](uint64_t round, JournaledEvaluation& evaluation) {
        Evaluate(round, evaluation);
        evaluation.loss += i;
        if (round == 11 && reporter_ < 0) {
          reporter_ = i;
          federation_.site(1 - i).Disconnect();
        }
      };
    }
    const std::string run = Submit(federation_, Spec("patience: 2"));
    ConnectAllOfThisRelease(federation_);
    EXPECT_GE(reporter_, 0);
    EXPECT_TRUE(federation_.Status(run).has_best_round());
    return run;
  }
  double LossOf(const std::string& run, int round) { return federation_.coordinator().GetRunHistory(run)->rounds(round).val_loss(); }

  int reporter_ = -1;
};

TEST_F(LastReports, OfBothSitesCountAlthoughTheCoordinatorHasRestartedInBetween) {
  const std::string run = BeginAndReportOnce();
  ASSERT_DOUBLE_EQ(LossOf(run, 11), 2.25 + reporter_);
  ASSERT_TRUE(federation_.Restart().ok());
  FakeSite& other = federation_.site(1 - reporter_);
  other.idle = true;  // it is still evaluating
  other.Connect();
  federation_.Settle();
  v1::WorkerMessage message;
  v1::StateReport& report = *message.mutable_state_report();
  report.set_run_id(run);
  report.set_round(11);
  report.set_state_hash(federation_.Status(run).state_hash());
  report.set_val_loss(static_cast<float>(2.25 + (1 - reporter_)));
  other.Say(message);
  federation_.Settle();
  EXPECT_DOUBLE_EQ(LossOf(run, 11), 2.75);
  EXPECT_DOUBLE_EQ(SiteOf(federation_.Status(run), federation_.site(reporter_).name()).val_loss(), 2.25 + reporter_);
}

TEST_F(LastReports, OfARunThatWentOnCountNoMore) {
  const std::string run = BeginAndReportOnce();
  ASSERT_TRUE(federation_.coordinator().ExtendRun(run, kRounds, kAnna).ok());
  federation_.site(reporter_).reports = false;
  EXPECT_EQ(EndOf(federation_, run).round, 15u);
  EXPECT_DOUBLE_EQ(LossOf(run, 15), 3.25 + (1 - reporter_));
}

TEST_F(EvaluationsTest, ASiteMayFetchTheBestStateAndNoOther) {
  const std::string run = Begin(Spec("patience: 2"));
  EndOf(federation_, run);
  const v1::ListOwnRunsResponse own = OwnRuns(federation_.coordinator().ListRuns(), "site-0", run);
  ASSERT_EQ(own.runs(0).best_round(), kBest);
  EXPECT_EQ(own.runs(0).best().name(), "loss");
  v1::DownloadRequest request;
  request.set_run_id(run);
  request.set_state_at_round(kBest);
  EXPECT_TRUE(federation_.coordinator().OpenDownload(request, "site-0").ok());
  request.set_state_at_round(kBest + 1);
  const absl::Status other = federation_.coordinator().OpenDownload(request, "site-0").status();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(other.message()), HasSubstr("that is round 6 now"));
  EXPECT_TRUE(federation_.coordinator().OpenDownload(request, std::nullopt).ok()) << "an operator";
}

TEST_F(EvaluationsTest, TheBestStateIsMadeOnceForAllWhoAskSoon) {
  const std::string run = Begin(Spec("patience: 2"));
  EndOf(federation_, run);
  v1::DownloadRequest request;
  request.set_run_id(run);
  request.set_state_at_round(kBest);
  const auto ask = [&](const std::string& site) { return federation_.coordinator().OpenDownload(request, site).value_or(nullptr).get(); };
  const StoredBytes* const made = ask("site-0");
  ASSERT_NE(made, nullptr);
  EXPECT_EQ(ask("site-1"), made);
  const SharedBytes held = *federation_.coordinator().OpenDownload(request, "site-0");
  federation_.Advance(absl::Minutes(11));
  EXPECT_NE(ask("site-0"), held.get()) << "it is not kept for good";
}

TEST_F(EvaluationsTest, OfARunThatNobodyCanJudgeTheEventsSaySoOnce) {
  const std::string run = Begin(Spec("metric: f1, patience: 2"));
  EXPECT_EQ(EndOf(federation_, run).round, kRounds);
  const std::vector<JournaledEvent> events = *federation_.journal().Events(run);
  EXPECT_EQ(std::count_if(events.begin(), events.end(), [](const JournaledEvent& event) { return event.kind == "unjudged"; }), 1);
}

TEST_F(EvaluationsTest, ARunThatIsJudgedByRoundsOfDifferentSitesIsWarnedOf) {
  v1::RunSpec spec = Spec("patience: 2");
  spec.mutable_participation()->set_min_workers(1);
  EXPECT_EQ(federation_.coordinator().SubmitRun(spec, "anna")->warnings_size(), 0);
  spec.set_name("in-turn");
  spec.mutable_participation()->set_max_workers(1);
  EXPECT_THAT(federation_.coordinator().SubmitRun(spec, "anna")->warnings(), ElementsAre(HasSubstr("1 of 2 sites in turn")));
}

TEST(EarlyEndOverCrashes, AtNoWriteDoesACrashChangeWhereARunEnds) {
  const auto begin = [](Federation& federation) {
    for (int i = 0; i < federation.size(); ++i) {
      federation.site(i).evaluate = Evaluate;
    }
    return Submit(federation, Spec("patience: 2"));
  };
  Ended expected;
  {
    Federation federation(2);
    const std::string run = begin(federation);
    ConnectAllOfThisRelease(federation);
    expected = EndOf(federation, run);
  }
  int crashes = 0;
  for (const auto fault : {FaultyJournal::Fault::kNotWritten, FaultyJournal::Fault::kWrittenButNotAcknowledged}) {
    for (int write = 30;; ++write) {
      SCOPED_TRACE(absl::StrCat("fault at write ", write));
      Federation federation(2);
      const std::string run = begin(federation);
      ASSERT_TRUE(federation.Restart(write, fault).ok());
      ConnectAllOfThisRelease(federation);
      if (federation.alive()) {
        EXPECT_EQ(EndOf(federation, run), expected);
        break;  // it has ended before
      }
      ++crashes;
      ASSERT_TRUE(federation.Restart().ok());
      ConnectAllOfThisRelease(federation);
      EXPECT_EQ(EndOf(federation, run), expected);
    }
  }
  EXPECT_GT(crashes, 20);
}

TEST(MetricsInAnOldJournal, ThereIsNoPlaceForThem) {
  Federation federation(2);
  federation.Crash();
  ASSERT_TRUE(CreateJournal(absl::StrCat(federation.folder(), "/journal.db"), kNewestFormat - 1, JournalDisk::Real()).ok());
  ASSERT_TRUE(federation.Restart().ok());
  const absl::Status refused = federation.coordinator().SubmitRun(Spec("patience: 2"), "anna").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("tributary journal upgrade"));
  v1::RunSpec spec = Spec("patience: 2");
  spec.mutable_evaluation()->clear_metrics();
  for (int i = 0; i < federation.size(); ++i) {
    federation.site(i).evaluate = Evaluate;
  }
  const std::string run = Submit(federation, spec);
  ConnectAllOfThisRelease(federation);
  EXPECT_EQ(EndOf(federation, run).round, 11u) << "losses have always had a place";
}

}  // namespace
}  // namespace tributary::coordinator
