// The coordinator's status page: what is drawn of a standing.
#include "coordinator/status_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1'767'225'600);  // 2026-01-01
constexpr char kHostile[] = "<script>alert('x')</script>\"&";

ReportedRun RunningRun() {
  ReportedRun run;
  run.status.set_run_id("bible-1234");
  run.status.mutable_spec()->set_name("bible");
  run.status.mutable_spec()->set_rounds(200);
  run.status.set_state(v1::RUNNING);
  run.status.set_round(2);
  run.status.set_val_loss(2.5);
  for (uint64_t i = 1; i <= 2; ++i) {
    v1::RoundRecord& round = *run.history.add_rounds();
    round.set_round(i);
    round.set_members(2);
    round.set_included(2);
    round.set_local_steps(1);
    round.set_train_loss(4 - static_cast<double>(i));
    round.set_bytes_up(4000);
    round.set_bytes_down(8000);
    round.set_dense_bytes_per_direction(600'000);
  }
  *run.status.mutable_last_round() = run.history.rounds(1);
  return run;
}

Standing TestedStanding() {
  Standing standing;
  standing.federation = "demo";
  standing.server.add_sites_connected("berlin");
  SiteStanding berlin, lyon;
  berlin.site = "berlin";
  berlin.state = "ready";
  berlin.last_heard = kNow - absl::Seconds(3);
  lyon.site = "lyon";
  lyon.state = "away";
  standing.sites = {berlin, lyon};
  standing.runs.push_back(RunningRun());
  JournaledEvent event;
  event.unix_ms = absl::ToUnixMillis(kNow);
  event.site = "lyon";
  event.kind = "left";
  event.detail = "shutting down";
  standing.events.push_back({"bible-1234", event});
  return standing;
}

TEST(StatusPageTest, ShowsEvaluationsOverAllAndOfEachSiteThatSharesThem) {
  Standing standing = TestedStanding();
  v1::RunStatus& status = standing.runs[0].status;
  EXPECT_THAT(StatusPage(standing, kNow), HasSubstr("all sites"));
  status.mutable_spec()->mutable_evaluation()->add_metrics("accuracy");
  v1::SiteStatus& site = *status.add_sites();
  site.set_site("oslo");
  site.set_val_loss(2.25);
  v1::Metric& accuracy = *site.add_metrics();
  accuracy.set_name("accuracy");
  accuracy.set_value(0.875);
  status.set_best_round(1);
  status.mutable_best()->set_name("loss");
  status.mutable_best()->set_value(2.5);
  const std::string page = StatusPage(standing, kNow);
  for (const char* const text : {"oslo", "2.25", "accuracy", "0.875", "Best so far: round 1, loss 2.5."}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
}

TEST(StatusPageTest, TellsWhereARunStandsAndWhatItsBytesComeTo) {
  const std::string page = StatusPage(TestedStanding(), kNow);
  EXPECT_THAT(page, AllOf(HasSubstr("bible <span class=\"state\">running</span>"), HasSubstr("<b>2 / 200</b>"), HasSubstr("<b>2.500</b>")));
  // Of two sites and one local step; dense both ways over moved both ways.
  EXPECT_THAT(page, AllOf(HasSubstr("<td>up, a step and site</td><td class=\"n\">2 kB</td>"),
                          HasSubstr("<td>down, a step and site</td><td class=\"n\">4 kB</td>"), HasSubstr("<b>100 ×</b>")));
  EXPECT_THAT(page, HasSubstr("<polyline"));
}

TEST(StatusPageTest, TellsOfEverySiteWhenItWasLastHeard) {
  const std::string page = StatusPage(TestedStanding(), kNow);
  EXPECT_THAT(page, HasSubstr("1 of 2 sites connected"));
  EXPECT_THAT(page, HasSubstr("<tr><td>berlin</td><td>ready</td><td>3 s ago</td>"));
  EXPECT_THAT(page, HasSubstr("<tr><td>lyon</td><td>away</td><td>not since the coordinator started</td>"));
}

TEST(StatusPageTest, ListsWhatHappened) {
  EXPECT_THAT(StatusPage(TestedStanding(), kNow), HasSubstr("<td>lyon</td><td>left</td><td></td><td>shutting down</td>"));
}

TEST(StatusPageTest, EscapesWhateverOthersSaid) {
  Standing standing = TestedStanding();
  standing.federation = kHostile;
  standing.server.set_software_version(kHostile);
  standing.sites[0].note = kHostile;
  standing.sites[0].software_version = kHostile;
  standing.sites[0].site = kHostile;
  standing.events[0].event.detail = kHostile;
  standing.events[0].event.actor = kHostile;
  standing.events[0].event.kind = kHostile;
  v1::RunStatus& run = standing.runs[0].status;
  run.mutable_spec()->set_name(kHostile);
  run.set_run_id(kHostile);
  run.set_reason(kHostile);
  EXPECT_THAT(StatusPage(standing, kNow), AllOf(Not(HasSubstr("<script")), HasSubstr("&lt;script&gt;alert(&#39;x&#39;)")));
}

TEST(StatusPageTest, LoadsNothingAndRunsNothing) {
  const std::string page = StatusPage(TestedStanding(), kNow);
  EXPECT_THAT(page, AllOf(Not(HasSubstr("<script")), Not(HasSubstr("http://")), Not(HasSubstr("https://")), Not(HasSubstr("url("))));
  EXPECT_THAT(page, HasSubstr("http-equiv=\"refresh\""));
}

TEST(StatusPageTest, IsAPageBeforeThereIsAnything) {
  EXPECT_THAT(StatusPage(Standing(), kNow), AllOf(HasSubstr("None was submitted yet."), HasSubstr("</html>")));
}

}  // namespace
}  // namespace tributary::coordinator
