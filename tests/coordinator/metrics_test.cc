#include "coordinator/metrics.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

size_t CountLines(const std::string& text, absl::string_view prefix) {
  size_t lines = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    lines += absl::StartsWith(line, prefix) ? 1 : 0;
  }
  return lines;
}

TEST(CoordinatorMetricsTest, HasEveryCountAndEveryChildFromTheStart) {
  const std::string text = CoordinatorMetrics({"berlin", "paris"}).Text();
  for (const char* const name : {"tributary_rounds_total{",
                                 "tributary_round_duration_seconds_bucket",
                                 "tributary_round_phase_seconds_bucket",
                                 "tributary_sessions{",
                                 "tributary_site_up{",
                                 "tributary_updates_total{",
                                 "tributary_update_rejections_total{",
                                 "tributary_bytes_total{",
                                 "tributary_bytes_per_step_bucket",
                                 "tributary_dense_equivalent_bytes_total{",
                                 "tributary_journal_fsync_seconds_bucket",
                                 "tributary_replica_hash_mismatches_total ",
                                 "tributary_certificate_files_refused ",
                                 "tributary_connections ",
                                 "tributary_connections_refused_total{",
                                 "tributary_calls_refused_total{",
                                 "tributary_build_info{",
                                 "tributary_memory_resident_bytes ",
                                 "tributary_memory_limit_bytes ",
                                 "tributary_disk_forecast_bytes "}) {
    EXPECT_GT(CountLines(text, name), 0U) << name;
  }
  EXPECT_EQ(CountLines(text, "tributary_bytes_total{"), 2U * 2U * 4U);
  EXPECT_EQ(CountLines(text, "tributary_updates_total{"), 2U * 5U);
  EXPECT_EQ(CountLines(text, "tributary_runs_total{"), 3U);
}

TEST(CoordinatorMetricsTest, ShowsNoValueThatIsNotKnown) {
  const std::string text = CoordinatorMetrics({"berlin"}).Text();
  for (const char* const name : {"tributary_round ", "tributary_loss", "tributary_validation_metric", "tributary_compression_ratio",
                                 "tributary_snapshot_timestamp_seconds", "tributary_site_last_seen_timestamp_seconds", "tributary_run_info",
                                 "tributary_disk_free_bytes"}) {
    EXPECT_EQ(CountLines(text, name), 0U) << name;
  }
}

TEST(CoordinatorMetricsTest, ForgetsRunsThatAreOverWhenAnotherBegins) {
  CoordinatorMetrics metrics({"berlin"});
  for (const char* const run : {"bible", "digits"}) {
    metrics.BeginRun(run);
    metrics.SetRound(run, 12);
    metrics.SetLoss(run, LossSplit::kTrain, 2.5);
    metrics.SetValidationMetrics(run, {{"accuracy", 0.5}});
    metrics.SetValidationMetrics(run, {{"auroc", 0.75}, {"a name that nobody gave it", 1}});
    metrics.SetCompressionRatio(run, 500);
    metrics.SetDiskForecast(run, 1000);
  }
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_disk_forecast_bytes 2000\n"));
  metrics.SetRun("bible", "stopped");
  metrics.SetRun("digits", "running");
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_round{run=\"bible\"} 12\n")) << "until another begins";
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_disk_forecast_bytes 1000\n"));
  metrics.BeginRun("next");
  const std::string text = metrics.Text();
  EXPECT_THAT(text, Not(HasSubstr("bible")));
  EXPECT_THAT(text, HasSubstr("tributary_round{run=\"digits\"} 12\n"));
  EXPECT_THAT(text, HasSubstr("tributary_loss{run=\"digits\",split=\"train\"} 2.5\n"));
  EXPECT_THAT(text, HasSubstr("tributary_validation_metric{metric=\"auroc\",run=\"digits\"} 0.75\n"));
  EXPECT_EQ(CountLines(text, "tributary_validation_metric{"), 1U);
  EXPECT_THAT(text, HasSubstr("tributary_compression_ratio{run=\"digits\"} 500\n"));
  metrics.SetRound("bible", 13);
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("bible")));
}

TEST(CoordinatorMetricsTest, ShowsOneStateOfEachRun) {
  CoordinatorMetrics metrics({"berlin"});
  metrics.BeginRun("bible");
  metrics.SetRun("bible", "waiting");
  metrics.SetRun("bible", "running");
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_run_info{run=\"bible\",state=\"running\"} 1\n"));
  EXPECT_EQ(CountLines(metrics.Text(), "tributary_run_info"), 1U);
}

TEST(CoordinatorMetricsTest, WatchesTheFileSystemOfItsFolder) {
  const std::string text = CoordinatorMetrics({"berlin"}, testing::TempDir()).Text();
  EXPECT_THAT(text, ::testing::ContainsRegex("\ntributary_disk_free_bytes [1-9]"));
  EXPECT_THAT(text, ::testing::ContainsRegex("\ntributary_memory_resident_bytes [1-9]"));
  EXPECT_THAT(text, ::testing::ContainsRegex("\ntributary_memory_limit_bytes [1-9]"));
}

TEST(CoordinatorMetricsTest, CountsBytesBySiteDirectionAndKind) {
  CoordinatorMetrics metrics({"berlin", "paris"});
  metrics.CountBytes("paris", ByteDirection::kUp, ByteKind::kUpdate, 1000);
  metrics.CountBytes("paris", ByteDirection::kUp, ByteKind::kUpdate, 24);
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_bytes_total{direction=\"up\",kind=\"update\",site=\"paris\"} 1024"));
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_bytes_total{direction=\"up\",kind=\"update\",site=\"berlin\"} 0"));
}

TEST(CoordinatorMetricsTest, FollowsTheListOfSites) {
  CoordinatorMetrics metrics({"berlin", "paris"});
  metrics.CountBytes("paris", ByteDirection::kUp, ByteKind::kUpdate, 7);
  metrics.SetSiteLastSeen("berlin", absl::UnixEpoch());
  metrics.SetSiteCertificateExpiry("berlin", absl::UnixEpoch());
  metrics.SetSites({"paris", "oslo"});
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("berlin"))) << "or an alert would miss it for ever";
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_bytes_total{direction=\"up\",kind=\"update\",site=\"paris\"} 7"));
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_site_up{site=\"oslo\"} 0"));
}

TEST(CoordinatorMetricsTest, AddsNoLabelForASiteThatItWasNotMadeWith) {
  CoordinatorMetrics metrics({"berlin"});
  metrics.CountBytes("mallory", ByteDirection::kUp, ByteKind::kUpdate, 1);
  metrics.SetSiteStates({{"mallory", SiteState::kReady}});
  metrics.ObserveArrival("mallory", absl::Seconds(1));
  metrics.SetSiteLastSeen("mallory", absl::UnixEpoch());
  metrics.CountUpdate("mallory", UpdateResult::kIncluded);
  metrics.SetSiteCertificateExpiry("mallory", absl::UnixEpoch());
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("mallory")));
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_sessions{state=\"ready\"} 0\n"));
}

TEST(CoordinatorMetricsTest, ShowsEachSiteInOneState) {
  CoordinatorMetrics metrics({"berlin", "paris"});
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_site_state{site=\"berlin\",state=\"away\"} 1\n"));
  metrics.SetSiteStates({{"berlin", SiteState::kReady}, {"paris", SiteState::kReady}});
  metrics.SetSiteStates({{"berlin", SiteState::kQuarantined}});
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("tributary_site_state{site=\"berlin\",state=\"quarantined\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tributary_site_state{site=\"berlin\",state=\"ready\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("tributary_site_state{site=\"paris\",state=\"away\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tributary_site_up{site=\"berlin\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tributary_site_up{site=\"paris\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("tributary_sessions{state=\"quarantined\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tributary_sessions{state=\"ready\"} 0\n"));
}

TEST(CoordinatorMetricsTest, ShowsWhichSitesARunHasUntilAnotherBeginsAfterItsEnd) {
  CoordinatorMetrics metrics({"berlin", "paris"});
  metrics.SetRunSites("bible", {"berlin"});
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("tributary_run_site{"))) << "nothing is known of that run";
  metrics.BeginRun("bible");
  metrics.SetRunSites("bible", {"berlin"});
  metrics.SetRunSites("bible", {"paris"});
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_run_site{run=\"bible\",site=\"paris\"} 1\n"));
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("site=\"berlin\"} 1\n")));
  metrics.SetRun("bible", "finished");
  EXPECT_THAT(metrics.Text(), HasSubstr("tributary_run_site{run=\"bible\",site=\"paris\"} 1\n"));
  metrics.BeginRun("koran");
  EXPECT_THAT(metrics.Text(), Not(HasSubstr("tributary_run_site{")));
}

TEST(CoordinatorMetricsTest, AddsUpWhenUpdatesOfASiteArrive) {
  CoordinatorMetrics metrics({"berlin"});
  metrics.ObserveArrival("berlin", absl::Seconds(2));
  metrics.ObserveArrival("berlin", absl::Seconds(3));
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("tributary_update_arrival_seconds_count{site=\"berlin\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("tributary_update_arrival_seconds_sum{site=\"berlin\"} 5\n"));
}

TEST(CoordinatorMetricsTest, ShowsWhatItIsTold) {
  CoordinatorMetrics metrics({"berlin"});
  metrics.BeginRun("bible");
  metrics.SetRound("bible", 12);
  metrics.RoundEnded(RoundOutcome::kPartial, absl::Seconds(3));
  metrics.RunEnded(RunOutcome::kFailed);
  metrics.SetSiteStates({{"berlin", SiteState::kSyncing}});
  metrics.CountSteps(20);
  metrics.SetSiteLastSeen("berlin", absl::FromUnixSeconds(1700000000));
  metrics.CountRejection(RejectionReason::kBaseState);
  metrics.CountDenseEquivalent(4000);
  metrics.SetLoss("bible", LossSplit::kValidation, 2.5);
  const std::string text = metrics.Text();
  EXPECT_THAT(text, HasSubstr("tributary_round{run=\"bible\"} 12\n"));
  EXPECT_THAT(text, HasSubstr("tributary_rounds_total{outcome=\"partial\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tributary_runs_total{outcome=\"failed\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tributary_round_duration_seconds_count 1\n"));
  EXPECT_THAT(text, HasSubstr("tributary_sessions{state=\"syncing\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tributary_steps_total 20\n"));
  EXPECT_THAT(text, HasSubstr("tributary_site_up{site=\"berlin\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tributary_site_last_seen_timestamp_seconds{site=\"berlin\"} 1700000000\n"));
  EXPECT_THAT(text, HasSubstr("tributary_update_rejections_total{reason=\"base_state\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("tributary_dense_equivalent_bytes_total{direction=\"down\"} 4000\n"));
  EXPECT_THAT(text, HasSubstr("tributary_loss{run=\"bible\",split=\"validation\"} 2.5\n"));
}

}  // namespace
}  // namespace tributary::coordinator
