#include "coordinator/coordinator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/files.h"
#include "coordinator/metrics.h"
#include "optim/snapshot.h"
#include "optim/weights_file.h"
#include "proto/protocol_version.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class WholeRun : public ::testing::TestWithParam<const char*> {};

TEST_P(WholeRun, EndsWithAllReplicasEqual) {
  Federation federation(3);
  const std::string run = Submit(federation, MakeSpec("toy", 5, 3, GetParam()));
  federation.ConnectAll();
  const v1::RunStatus status = federation.Status(run);
  EXPECT_EQ(status.state(), v1::FINISHED) << status.reason();
  EXPECT_EQ(status.reason(), "all 5 rounds committed");
  EXPECT_EQ(status.round(), 5u);
  CommonHash(federation, run);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(federation.site(i).end.has_value());
    EXPECT_EQ(federation.site(i).end->state(), v1::FINISHED);
    EXPECT_EQ(federation.site(i).end->state_hash(), status.state_hash());
    EXPECT_EQ(static_cast<int>(federation.site(i).receipts.size()), 5);
    EXPECT_EQ(SiteOf(status, federation.site(i).name()).updates_included(), 5u);
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, WholeRun, ::testing::Values("allreduce", "demo", "distro", "local", "fedavg", "diloco", "signsgd"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Coordinator, TheHistoryHoldsEveryRoundWithItsLossesBytesAndDenseEquivalent) {
  Federation federation(3);
  const std::string run = Submit(federation, MakeSpec("toy", 5, 3, "distro", "evaluation: {every: 2}"));
  federation.ConnectAll();
  const absl::StatusOr<v1::RunHistory> history = federation.coordinator().GetRunHistory(run);
  ASSERT_TRUE(history.ok());
  ASSERT_EQ(static_cast<int>(history->rounds().size()), 6);
  EXPECT_EQ(history->rounds(0).round(), 0u);
  EXPECT_NEAR(history->rounds(0).val_loss(), 3.0, 1e-6) << "of the initial weights";
  EXPECT_FALSE(history->rounds(1).has_val_loss());
  EXPECT_NEAR(history->rounds(2).val_loss(), 2.8, 1e-6);
  EXPECT_NEAR(history->rounds(4).val_loss(), 2.6, 1e-6);
  EXPECT_NEAR(history->rounds(5).val_loss(), 2.5, 1e-6) << "from the final reports";
  const uint64_t parameters = 8 * 16 + 16 + 16 * 4 + 4;
  uint64_t up = 0;
  uint64_t down = 0;
  for (const v1::RoundRecord& record : history->rounds()) {
    up += record.bytes_up();
    down += record.bytes_down();
    if (record.round() == 0) {
      continue;
    }
    EXPECT_EQ(record.members(), 3u);
    EXPECT_EQ(record.included(), 3u);
    EXPECT_EQ(record.dense_bytes_per_direction(), 4 * parameters * 3);
    EXPECT_NEAR(record.train_loss(), 3.0 - 0.1 * static_cast<double>(record.round()), 1e-6);
    EXPECT_NEAR(record.compute_seconds(), 0.5, 1e-6);
    EXPECT_GT(record.payload_bytes_up(), 0u);
    EXPECT_LT(record.payload_bytes_up(), record.bytes_up());
    EXPECT_GT(record.payload_bytes_down(), 0u);
    EXPECT_GT(record.learning_rate(), 0);
  }
  const v1::RunStatus status = federation.Status(run);
  EXPECT_EQ(up, status.bytes_up_total()) << "records add up to the totals";
  EXPECT_EQ(down, status.bytes_down_total());
  EXPECT_NEAR(status.val_loss(), 2.5, 1e-6);
  EXPECT_EQ(status.parameters(), parameters);

  ASSERT_TRUE(federation.Restart().ok());
  const v1::RunStatus after = federation.Status(run);
  EXPECT_EQ(after.bytes_up_total(), status.bytes_up_total()) << "over a restart as well";
  EXPECT_EQ(after.state_hash(), status.state_hash());
  EXPECT_NEAR(after.val_loss(), 2.5, 1e-6);
  EXPECT_EQ(federation.coordinator().GetRunHistory(run)->rounds_size(), 6);
}

TEST(Coordinator, ARunWithABudgetStaysWithinIt) {
  Federation federation(3);
  const v1::RunSpec spec = MakeSpec("toy", 4, 3, "local, budget: 4B");
  const std::string run = Submit(federation, spec);
  federation.ConnectAll();
  federation.RunToEnd(run);
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
  const uint32_t local_steps = RunModel::Of(spec)->options.local_steps;
  ASSERT_GT(local_steps, 2u) << "the budget chooses";
  for (const v1::RoundStart& start : federation.site(0).starts) {
    EXPECT_EQ(start.local_steps(), local_steps);
  }
  const v1::RunHistory history = federation.coordinator().GetRunHistory(run).value();
  ASSERT_EQ(history.rounds_size(), 5);
  for (const v1::RoundRecord& record : history.rounds()) {
    if (record.round() == 0) {
      continue;  // the evaluation before the first
    }
    EXPECT_GT(record.payload_bytes_up(), 0u);
    EXPECT_LE(record.payload_bytes_up(), uint64_t{3} * local_steps * 4);
    const optim::Commit commit = *optim::DecodeCommit(federation.journal().Commit(run, record.round())->record);
    EXPECT_LE(commit.payload.size(), uint64_t{local_steps} * 4);
  }
}

TEST(Coordinator, CommitsTooLongForASessionAreDownloaded) {
  Federation federation(2, 2, /*max_inline=*/16);
  const std::string run = Submit(federation, MakeSpec("toy", 3, 2, "fedavg"));
  federation.ConnectAll();
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
  CommonHash(federation, run);
  const auto& received = federation.site(0).received;
  EXPECT_TRUE(std::any_of(received.begin(), received.end(), [](const auto& m) { return m.has_commit() && m.commit().record().empty(); }));
}

TEST(Coordinator, FillsItsMetrics) {
  Federation federation(2);
  CoordinatorMetrics metrics({"site-0", "site-1"});
  // The federation's coordinator has none; one of its own over the same folder has.
  const std::string run = Submit(federation, MakeSpec("toy", 2, 2));
  federation.metrics = &metrics;
  ASSERT_TRUE(federation.Restart().ok());
  federation.ConnectAll();
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
  const std::string page = metrics.Text();
  EXPECT_THAT(page, HasSubstr("tributary_round{run=\"toy\"} 2"));
  EXPECT_THAT(page, HasSubstr("tributary_dense_equivalent_bytes_total{direction=\"up\"} 3392"))
      << "4 bytes x 212 parameters x 2 members x 2 rounds";
  EXPECT_THAT(page, HasSubstr("tributary_rounds_total{outcome=\"committed\"} 2"));
  EXPECT_THAT(page, HasSubstr("tributary_runs_total{outcome=\"finished\"} 1"));
  EXPECT_THAT(page, HasSubstr("tributary_run_info{run=\"toy\",state=\"finished\"} 1"));
  EXPECT_THAT(page, HasSubstr("tributary_updates_total{result=\"included\",site=\"site-0\"} 2"));
  EXPECT_THAT(page, HasSubstr("tributary_update_arrival_seconds_count{site=\"site-0\"} 2"));
  EXPECT_THAT(page, HasSubstr("tributary_steps_total 4"));
}

TEST(Coordinator, ShowsAQuarantinedSiteInItsMetrics) {
  Federation federation(2, 2);
  CoordinatorMetrics metrics({"site-0", "site-1"});
  federation.metrics = &metrics;
  ASSERT_TRUE(federation.Restart().ok());
  const std::string run = Submit(federation, MakeSpec("toy", 1000, 2));
  federation.site(0).Connect();
  federation.Settle();
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_site_state{site=\"site-0\",state=\"ready\"} 1"));
  v1::WorkerMessage message;
  message.mutable_ready()->set_run_id(run);
  message.mutable_ready()->set_state_hash(std::string(32, 'x'));
  federation.site(0).Say(message);
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_site_state{site=\"site-0\",state=\"quarantined\"} 1"));
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_site_state{site=\"site-1\",state=\"away\"} 1"));
  federation.Settle();
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_site_state{site=\"site-0\",state=\"ready\"} 1")) << "resynchronised";
}

// The coordinator of `federation` again, with metrics that know nothing yet; their page then.
std::string PageAfterRestart(Federation& federation) {
  CoordinatorMetrics metrics({"site-0", "site-1"});
  federation.metrics = &metrics;
  EXPECT_EQ(federation.Restart(), absl::OkStatus());
  const std::string page = metrics.Text();
  federation.Crash();
  return page;
}

TEST(Coordinator, ForecastsTheDiskAndWarnsWhereItMayNotDo) {
  Federation federation(2, 3);
  CoordinatorMetrics metrics({"site-0", "site-1"});
  federation.metrics = &metrics;
  ASSERT_TRUE(federation.Restart().ok());
  const auto forecast = [&metrics] {
    const std::string page = metrics.Text();
    return std::stod(page.substr(page.find("\ntributary_disk_forecast_bytes ") + 31));
  };
  EXPECT_EQ(forecast(), 0);
  // A hundred million dense commits take 140 GB.
  const absl::StatusOr<v1::RunStatus> submitted =
      federation.coordinator().SubmitRun(MakeSpec("endless", 100'000'000, 2, "allreduce"), "anna");
  ASSERT_TRUE(submitted.ok()) << submitted.status();
  EXPECT_GT(forecast(), 100e9);
  if (*FreeBytes(federation.folder()) < 100'000'000'000) {
    ASSERT_EQ(submitted->warnings_size(), 1);
    EXPECT_THAT(submitted->warnings(0), HasSubstr("its 100000000 rounds with up to 2 sites may take "));
  }
  EXPECT_EQ(federation.Status("endless").warnings_size(), 0);
  ASSERT_TRUE(federation.coordinator().StopRun("endless", {"anna", ""}).ok());
  EXPECT_EQ(forecast(), 0);
}

TEST(Coordinator, ShowsNoLossBeforeThereIsOne) {
  Federation federation(2);
  Submit(federation, MakeSpec("toy", 2, 2));
  const std::string page = PageAfterRestart(federation);
  EXPECT_THAT(page, HasSubstr("tributary_run_info{run=\"toy\",state=\"waiting\"} 1"));
  EXPECT_THAT(page, HasSubstr("tributary_round{run=\"toy\"} 0"));
  EXPECT_THAT(page, Not(HasSubstr("tributary_loss{")));
  EXPECT_THAT(page, Not(HasSubstr("tributary_compression_ratio{run=\"toy\"} ")));
}

TEST(Coordinator, ShowsAfterARestartWhereARunInProgressStands) {
  Federation federation(2);
  const std::string run = Submit(federation, MakeSpec("toy", 3, 2));
  federation.site(1).silent = true;
  federation.ConnectAll();
  federation.Advance(absl::Minutes(1) + absl::Seconds(1));
  const v1::RunStatus before = federation.Status(run);
  ASSERT_EQ(before.state(), v1::RUNNING);
  ASSERT_EQ(before.round(), 1U);
  const std::string page = PageAfterRestart(federation);
  EXPECT_THAT(page, HasSubstr("tributary_round{run=\"toy\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("tributary_loss{run=\"toy\",split=\"train\"} "));
  EXPECT_THAT(page, HasSubstr("tributary_loss{run=\"toy\",split=\"validation\"} "));
  EXPECT_THAT(page, HasSubstr("tributary_compression_ratio{run=\"toy\"} "));
}

TEST(Coordinator, ShowsAfterARestartHowTheNewestRunEnded) {
  Federation federation(2);
  const std::string run = Submit(federation, MakeSpec("toy", 2, 2));
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).state(), v1::FINISHED);
  const std::string page = PageAfterRestart(federation);
  EXPECT_THAT(page, HasSubstr("tributary_run_info{run=\"toy\",state=\"finished\"} 1"));
  EXPECT_THAT(page, HasSubstr("tributary_round{run=\"toy\"} 2"));
  EXPECT_THAT(page, HasSubstr("tributary_loss{run=\"toy\",split=\"validation\"} "));
}

TEST(Coordinator, CountsARunThatFailsBetweenRounds) {
  Federation federation(2);
  CoordinatorMetrics metrics({"site-0", "site-1"});
  federation.metrics = &metrics;
  ASSERT_TRUE(federation.Restart().ok());
  const std::string run = Submit(federation, MakeSpec("toy", 2, 2));
  federation.site(0).Connect();
  federation.Settle();
  federation.Advance(absl::Minutes(5) + absl::Seconds(1));
  ASSERT_EQ(federation.Status(run).state(), v1::FAILED);
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_runs_total{outcome=\"failed\"} 1"));
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_run_info{run=\"toy\",state=\"failed\"} 1"));
}

TEST(Coordinator, CountsARunThatIsStoppedInTheQueue) {
  Federation federation(2);
  CoordinatorMetrics metrics({"site-0", "site-1"});
  federation.metrics = &metrics;
  ASSERT_TRUE(federation.Restart().ok());
  Submit(federation, MakeSpec("first", 2, 2));
  const std::string second = Submit(federation, MakeSpec("second", 2, 2));
  ASSERT_TRUE(federation.coordinator().StopRun(second, {"anna", ""}).ok());
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_runs_total{outcome=\"stopped\"} 1"));
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_run_info{run=\"first\",state=\"waiting\"} 1")) << "the run in progress stays";
}

TEST(Coordinator, RunsQueueAndAFailedOneBlocksNoOther) {
  Federation federation(2);
  const std::string first = Submit(federation, MakeSpec("first", 2, 2));
  const std::string second = Submit(federation, MakeSpec("second", 2, 1));
  EXPECT_EQ(federation.Status(second).state(), v1::SUBMITTED);
  EXPECT_EQ(federation.Status(second).reason(), absl::StrCat("queued behind run ", first));
  federation.site(0).Connect();
  federation.Settle();
  federation.Advance(absl::Minutes(5) + absl::Seconds(1));
  EXPECT_EQ(federation.Status(first).state(), v1::FAILED);
  EXPECT_EQ(federation.Status(second).state(), v1::FINISHED) << federation.Status(second).reason();
  const v1::ListRunsResponse runs = federation.coordinator().ListRuns();
  ASSERT_EQ(static_cast<int>(runs.runs().size()), 2);
  EXPECT_EQ(runs.runs(0).run_id(), second) << "newest first";
  EXPECT_THAT(federation.notified, Contains(first));
}

TEST(Coordinator, ARunIsFoundByItsIdOrByItsName) {
  Federation federation(1);
  const std::string first = Submit(federation, MakeSpec("toy", 1, 1));
  federation.ConnectAll();
  const std::string second = Submit(federation, MakeSpec("toy", 1, 1));
  EXPECT_NE(first, second);
  EXPECT_EQ(federation.Status("toy").run_id(), second) << "the newest of that name";
  EXPECT_EQ(federation.Status(first).run_id(), first);
  EXPECT_TRUE(absl::IsNotFound(federation.coordinator().GetRun("other").status()));
}

TEST(Coordinator, ImpossibleSubmissionsAreRefused) {
  Federation federation(2);
  Submit(federation, MakeSpec("toy", 3, 2));
  EXPECT_TRUE(absl::IsAlreadyExists(federation.coordinator().SubmitRun(MakeSpec("toy", 3, 2), "anna").status()));
  const absl::Status many = federation.coordinator().SubmitRun(MakeSpec("other", 3, 3), "anna").status();
  EXPECT_TRUE(absl::IsInvalidArgument(many));
  EXPECT_THAT(std::string(many.message()), HasSubstr("participation.min_workers: 3 is more than the 2 sites"));
  v1::RunSpec broken = MakeSpec("other", 3, 2);
  broken.set_rounds(0);
  EXPECT_TRUE(absl::IsInvalidArgument(federation.coordinator().SubmitRun(broken, "anna").status()));
  v1::RunSpec no_file = MakeSpec("other", 3, 2);
  no_file.mutable_model()->set_initial_weights("nowhere.safetensors");
  const absl::Status missing = federation.coordinator().SubmitRun(no_file, "anna").status();
  EXPECT_TRUE(absl::IsInvalidArgument(missing));
  EXPECT_THAT(std::string(missing.message()), AllOf(StartsWith("model.initial_weights: "), HasSubstr("'nowhere.safetensors'")));
}

TEST(Coordinator, InitialWeightsAreReadAtSubmissionAndTheFileMayChangeAfterwards) {
  Federation federation(1);
  v1::RunSpec spec = MakeSpec("toy", 1, 1);
  const absl::StatusOr<RunModel> model = RunModel::Of(spec);
  ASSERT_TRUE(model.ok());
  std::vector<float> theta(model->layout.size());
  for (size_t i = 0; i < theta.size(); ++i) {
    theta[i] = static_cast<float>(i);
  }
  ASSERT_TRUE(MakeDirectories(federation.folder() + "/initial_weights").ok());
  const std::string file = federation.folder() + "/initial_weights/weights.safetensors";
  ASSERT_TRUE(WriteFileAtomically(file, *optim::EncodeWeights(model->layout, theta, {})).ok());
  spec.mutable_model()->set_initial_weights("weights.safetensors");
  const std::string run = Submit(federation, spec);
  std::filesystem::remove(file);
  ASSERT_TRUE(federation.Restart().ok());
  v1::DownloadRequest request;
  request.set_run_id(run);
  request.set_state_at_round(0);
  const absl::StatusOr<SharedBytes> bytes = federation.coordinator().OpenDownload(request, std::nullopt);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(optim::ReadSnapshot(**bytes, model->layout, optim::SlotCount(model->options.mode))->theta, theta);
  federation.ConnectAll();
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
}

TEST(Coordinator, AFileOfInitialWeightsIsOneOfItsFolderAndNothingElseIsToldOfIt) {
  Federation federation(1);
  const std::string folder = federation.folder() + "/initial_weights";
  ASSERT_TRUE(MakeDirectories(folder + "/folder").ok());
  ASSERT_TRUE(WriteFileAtomically(federation.folder() + "/outside", "secret").ok());
  ASSERT_EQ(mkfifo((folder + "/fifo").c_str(), 0600), 0);
  ASSERT_EQ(symlink("/dev/ptmx", (folder + "/terminal").c_str()), 0);
  ASSERT_EQ(symlink("../outside", (folder + "/link").c_str()), 0);
  const auto answer = [&](const std::string& name) {
    v1::RunSpec spec = MakeSpec("toy", 1, 1);
    spec.mutable_model()->set_initial_weights(name);
    const absl::Status refused = federation.coordinator().SubmitRun(spec, "anna").status();
    EXPECT_TRUE(absl::IsInvalidArgument(refused)) << name << ": " << refused;
    return absl::StrReplaceAll(refused.message(), {{absl::StrCat("'", name, "'"), "FILE"}});
  };
  for (const std::string name : {"fifo", "terminal", "link", "folder"}) {
    EXPECT_EQ(answer(name), answer("nowhere")) << name;
  }
  for (const std::string name : {"/dev/ptmx", "../outside", "folder/x", ".", ".hidden"}) {
    EXPECT_THAT(answer(name), HasSubstr("no file's name")) << name;
  }
  EXPECT_EQ(federation.coordinator().ListRuns().runs_size(), 0);
}

TEST(Coordinator, ASubmissionThatFailsLeavesNoFileBehind) {
  Federation federation(1);
  const auto files = [&] {
    const std::filesystem::directory_iterator all(federation.folder() + "/snapshots");
    return std::distance(begin(all), end(all));
  };
  const absl::StatusOr<std::shared_ptr<Submission>> first = federation.coordinator().BeginSubmission(MakeSpec("toy", 1, 1), "ana");
  ASSERT_TRUE(first.ok() && (*first)->Prepare().ok());
  Submit(federation, MakeSpec("toy", 1, 1));
  const auto before = files();
  EXPECT_TRUE(absl::IsAlreadyExists(federation.coordinator().EndSubmission(**first, "anna").status()));
  const_cast<std::shared_ptr<Submission>&>(*first).reset();
  EXPECT_EQ(files(), before - 1);
}

TEST(Coordinator, AStoppedRunEndsAfterTheRoundInFlight) {
  Federation federation(2);
  federation.site(1).silent = true;
  const std::string run = Submit(federation, MakeSpec("toy", 30, 2));
  federation.ConnectAll();
  ASSERT_TRUE(federation.coordinator().StopRun(run, {"anna", "wrong data"}).ok());
  EXPECT_EQ(federation.Status(run).state(), v1::DRAINING);
  ASSERT_TRUE(federation.Restart().ok()) << "the stop was acknowledged: it must survive this";
  federation.ConnectAll();
  EXPECT_EQ(federation.Status(run).state(), v1::DRAINING);
  federation.Advance(absl::Seconds(61));
  EXPECT_EQ(federation.Status(run).state(), v1::STOPPED);
  EXPECT_EQ(federation.Status(run).reason(), "stopped by anna: wrong data");
  EXPECT_EQ(federation.Status(run).round(), 1u);
  EXPECT_TRUE(absl::IsFailedPrecondition(federation.coordinator().StopRun(run, {"anna", ""}).status()));
  EXPECT_TRUE(absl::IsNotFound(federation.coordinator().StopRun("other", {"anna", ""}).status()));
}

TEST(Coordinator, TheJournalNamesTheOperatorOfEveryAct) {
  Federation federation(2);
  const std::string run = Submit(federation, MakeSpec("toy", 6, 2));
  ASSERT_TRUE(federation.coordinator().PauseRun(run, {"bob", "new racks"}).ok());
  ASSERT_TRUE(federation.coordinator().ResumeRun(run, {"carol", ""}).ok());
  ASSERT_TRUE(federation.coordinator().StopRun(run, {"dave", "wrong data"}).ok());
  const std::vector<JournaledEvent> events = *federation.journal().Events(run);
  std::vector<std::string> acts;
  for (const JournaledEvent& event : events) {
    acts.push_back(absl::StrCat(event.kind, " by ", event.actor, ": ", event.detail));
  }
  EXPECT_THAT(acts, ElementsAre("submitted by anna: ", "paused by bob: new racks", "resumed by carol: ", "stopped by dave: wrong data"));
}

TEST(Coordinator, APausedRunStaysPausedOverARestartUntilItIsResumed) {
  Federation undisturbed(2);
  const std::string same = Submit(undisturbed, MakeSpec("toy", 6, 2));
  undisturbed.ConnectAll();

  Federation federation(2);
  federation.site(1).silent = true;
  const std::string run = Submit(federation, MakeSpec("toy", 6, 2));
  federation.ConnectAll();
  ASSERT_TRUE(federation.coordinator().PauseRun(run, {"anna", "maintenance"}).ok());
  EXPECT_EQ(federation.Status(run).state(), v1::PAUSED);
  ASSERT_TRUE(federation.Restart().ok());
  federation.site(1).silent = false;
  federation.ConnectAll();
  federation.Advance(absl::Hours(24));
  EXPECT_EQ(federation.Status(run).state(), v1::PAUSED);
  EXPECT_THAT(federation.Status(run).reason(), HasSubstr("paused by anna: maintenance; round 2 starts after"));
  EXPECT_EQ(federation.Status(run).round(), 1u) << "the round in flight was committed";
  ASSERT_TRUE(federation.coordinator().PauseRun(run, {"anna", ""}).ok());
  EXPECT_THAT(federation.Status(run).reason(), HasSubstr("paused by anna: maintenance;")) << "the reason given first stays";
  ASSERT_TRUE(federation.coordinator().PauseRun(run, {"anna", "a storm"}).ok());
  EXPECT_THAT(federation.Status(run).reason(), HasSubstr("paused by anna: a storm;"));
  const std::string next = Submit(federation, MakeSpec("next", 1, 2));
  EXPECT_EQ(federation.Status(next).state(), v1::SUBMITTED) << "the paused run keeps the head of the queue";
  EXPECT_TRUE(absl::IsFailedPrecondition(federation.coordinator().PauseRun(next, {"anna", ""}).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(federation.coordinator().ResumeRun(next, {"anna", ""}).status()));
  EXPECT_TRUE(absl::IsNotFound(federation.coordinator().PauseRun("other", {"anna", ""}).status()));

  ASSERT_TRUE(federation.coordinator().ResumeRun(run, {"anna", ""}).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(federation.coordinator().ResumeRun(run, {"anna", ""}).status())) << "it is not paused any more";
  federation.RunToEnd(run);
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
  EXPECT_EQ(federation.Status(run).state_hash(), undisturbed.Status(same).state_hash());
  EXPECT_EQ(federation.Status(next).state(), v1::FINISHED) << "the queue goes on";
  EXPECT_TRUE(absl::IsFailedPrecondition(federation.coordinator().PauseRun(run, {"anna", ""}).status()));
}

TEST(Coordinator, APausedRunIsStoppedAndAResumedOneSurvivesARestart) {
  Federation federation(1);
  const std::string run = Submit(federation, MakeSpec("toy", 5, 1));
  ASSERT_TRUE(federation.coordinator().PauseRun(run, {"anna", ""}).ok());
  ASSERT_TRUE(federation.coordinator().ResumeRun(run, {"anna", ""}).ok());
  ASSERT_TRUE(federation.Restart().ok());
  EXPECT_EQ(federation.Status(run).state(), v1::WAITING);
  ASSERT_TRUE(federation.coordinator().PauseRun(run, {"anna", ""}).ok());
  federation.ConnectAll();
  EXPECT_EQ(federation.Status(run).round(), 0u);
  ASSERT_TRUE(federation.coordinator().StopRun(run, {"anna", ""}).ok());
  EXPECT_EQ(federation.Status(run).state(), v1::STOPPED);
}

TEST(Coordinator, AQueuedRunIsStoppedAtOnce) {
  Federation federation(1);
  Submit(federation, MakeSpec("first", 2, 1));
  const std::string second = Submit(federation, MakeSpec("second", 2, 1));
  ASSERT_TRUE(federation.coordinator().StopRun(second, {"anna", ""}).ok());
  EXPECT_EQ(federation.Status(second).state(), v1::STOPPED);
}

TEST(Coordinator, EveryPastStateCanBeHadByOperatorsAlsoWhenTheRunIsOver) {
  Federation federation(2, 2);
  const std::string run = Submit(federation, MakeSpec("toy", 5, 2));
  federation.ConnectAll();
  ASSERT_EQ(federation.Status(run).state(), v1::FINISHED);
  const absl::StatusOr<RunModel> model = RunModel::Of(federation.Status(run).spec());
  for (uint64_t round = 0; round <= 5; ++round) {
    v1::DownloadRequest request;
    request.set_run_id(run);
    request.set_state_at_round(round);
    EXPECT_EQ(federation.coordinator().OpenDownload(request, "site-0").ok(), round == federation.Status(run).best_round());
    const absl::StatusOr<SharedBytes> bytes = federation.coordinator().OpenDownload(request, std::nullopt);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    const absl::StatusOr<optim::ReplicaState> state = optim::ReadSnapshot(**bytes, model->layout, optim::SlotCount(model->options.mode));
    ASSERT_TRUE(state.ok());
    EXPECT_EQ(state->round, round);
    if (round > 0) {
      EXPECT_EQ(optim::StateHash(model->layout, *state), federation.journal().Commit(run, round)->state_hash);
    }
  }
  v1::DownloadRequest request;
  request.set_run_id(run);
  request.set_state_at_round(6);
  EXPECT_TRUE(absl::IsNotFound(federation.coordinator().OpenDownload(request, std::nullopt).status()));
  request.mutable_commits()->set_first(4);
  request.mutable_commits()->set_last(6);
  EXPECT_TRUE(absl::IsNotFound(federation.coordinator().OpenDownload(request, "site-0").status()));
  request.mutable_commits()->set_first(0);
  EXPECT_TRUE(absl::IsInvalidArgument(federation.coordinator().OpenDownload(request, "site-0").status()));
  request.set_snapshot_round(2);
  EXPECT_TRUE(absl::IsNotFound(federation.coordinator().OpenDownload(request, "site-0").status())) << "pruned: keep is 1";
  request.set_run_id("other");
  EXPECT_TRUE(absl::IsNotFound(federation.coordinator().OpenDownload(request, "site-0").status()));
}

TEST_F(OpenRound, ADrainFinishesTheRoundInFlightAndTheRunGoesOnAfterTheRestart) {
  bool done = false;
  federation_.coordinator().Drain([&] { done = true; });
  EXPECT_FALSE(done);
  EXPECT_EQ(federation_.Status(run_).state(), v1::DRAINING);
  site().silent = false;
  site().Disconnect();
  site().Connect();
  federation_.Settle();
  EXPECT_TRUE(done);
  EXPECT_EQ(federation_.Status(run_).round(), 1u);
  EXPECT_TRUE(absl::IsUnavailable(federation_.site(0).closed_with));
  const auto& received = federation_.site(0).received;
  EXPECT_TRUE(
      std::any_of(received.begin(), received.end(), [](const auto& m) { return m.has_drain() && m.drain().reconnect_after_ms() > 0; }));
  ASSERT_TRUE(federation_.Restart().ok());
  federation_.ConnectAll();
  EXPECT_EQ(federation_.Status(run_).state(), v1::FINISHED);
  CommonHash(federation_, run_);
}

TEST_F(OpenRound, ADrainIsBounded) {
  bool done = false;
  federation_.coordinator().Drain([&] { done = true; });
  federation_.Advance(absl::Seconds(19));
  EXPECT_FALSE(done);
  federation_.Advance(absl::Seconds(2));
  EXPECT_TRUE(done);
  EXPECT_EQ(federation_.Status(run_).round(), 0u);
  site().silent = false;
  ASSERT_TRUE(federation_.Restart().ok());
  federation_.ConnectAll();
  EXPECT_EQ(federation_.Status(run_).state(), v1::FINISHED);
  EXPECT_EQ(federation_.site(0).updates_sent[1], 1) << "what was accepted before is not asked for again";
}

TEST(Coordinator, ADrainIsOverWhenTheRunEnds) {
  Federation federation(2);
  federation.site(1).silent = true;
  const std::string run = Submit(federation, MakeSpec("toy", 1, 2));
  federation.ConnectAll();
  bool done = false;
  federation.coordinator().Drain([&] { done = true; });
  ASSERT_TRUE(federation.coordinator().StopRun(run, {"anna", "wrong data"}).ok());
  EXPECT_FALSE(done);
  federation.site(1).Disconnect();
  federation.Advance(absl::Seconds(61));
  EXPECT_TRUE(done);
}

TEST(Coordinator, AfterAStorageErrorNothingIsCommittedOrSent) {
  Federation federation(2);
  federation.site(1).silent = true;
  Submit(federation, MakeSpec("toy", 5, 2));
  federation.ConnectAll();
  const std::string queued = Submit(federation, MakeSpec("next", 5, 2));
  federation.journal().FailAt(federation.journal().writes(), FaultyJournal::Fault::kNotWritten);
  EXPECT_FALSE(federation.coordinator().StopRun(queued, {"anna", ""}).ok());
  EXPECT_FALSE(federation.fatal.ok());
  const int writes = federation.journal().writes();
  const size_t told = federation.site(0).received.size();
  federation.Advance(absl::Seconds(61));  // past the deadline: with a sound journal the round would close
  federation.site(1).Disconnect();
  federation.Settle();
  EXPECT_EQ(federation.journal().writes(), writes);
  EXPECT_EQ(federation.site(0).received.size(), told);
}

TEST(Coordinator, ADrainWithoutARunIsImmediate) {
  Federation federation(1);
  federation.ConnectAll();
  bool done = false;
  federation.coordinator().Drain([&] { done = true; });
  EXPECT_TRUE(done);
  EXPECT_TRUE(absl::IsUnavailable(federation.coordinator().SubmitRun(MakeSpec("toy", 1, 1), "anna").status()));
}

TEST(Coordinator, ServerInfoTellsVersionsAndSpace) {
  Federation federation(1);
  federation.ConnectAll();
  const v1::ServerInfo info = federation.coordinator().GetServerInfo();
  EXPECT_EQ(info.protocol_version(), kOldestProtocolVersion);
  EXPECT_EQ(info.newest_protocol_version(), kNewestProtocolVersion);
  EXPECT_GT(info.data_dir_free_bytes(), 0u);
  EXPECT_EQ(info.unix_ms(), absl::ToUnixMillis(federation.clock.Now()));
}

}  // namespace
}  // namespace tributary::coordinator
