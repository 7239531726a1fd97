// The worker's status page: what is drawn of a standing.
#include "worker/status_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::worker {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const absl::Time kNow = absl::FromUnixSeconds(1'767'225'600);  // 2026-01-01
constexpr char kHostile[] = "<script>alert('x')</script>\"&";

Sent SentUpdate(uint64_t round) {
  return {kNow - absl::Minutes(1), "coordinator.example:443", "bible-1234", round, 5000, std::string(32, '\xab'), 2.25, std::nullopt};
}

WorkerStanding TestedStanding() {
  WorkerStanding standing;
  standing.config.set_federation("demo");
  standing.config.set_site("berlin");
  standing.config.set_data("/srv/data");
  standing.config.add_quiet_hours("08:00-18:00");
  standing.config.mutable_consent()->add_runs("bible-*");
  standing.config.mutable_consent()->add_models("gpt");
  standing.config.mutable_consent()->set_max_local_steps(50);
  standing.coordinator = "coordinator.example:443";
  standing.connected = true;
  standing.run = "bible";
  standing.round = 7;
  standing.certificate_expiry = kNow + absl::Hours(24 * 30);
  standing.sent = {SentUpdate(6), SentUpdate(7)};
  return standing;
}

TEST(WorkerStatusPageTest, TellsWhatWasSentWhenAndToWhom) {
  const std::string page = StatusPage(TestedStanding(), kNow);
  EXPECT_THAT(page, HasSubstr("<td>2025-12-31 23:59:00 UTC</td><td>coordinator.example:443</td><td>bible-1234</td><td>7</td><td>update</td>"
                              "<td>5 kB</td><td>2.25</td><td>-</td><td>abababababab</td>"));
  EXPECT_THAT(page, HasSubstr("<td>bible-1234</td><td>2</td><td>10 kB</td>"));
}

TEST(WorkerStatusPageTest, TellsWhatTheSiteConsentsTo) {
  const std::string page = StatusPage(TestedStanding(), kNow);
  EXPECT_THAT(page, AllOf(HasSubstr("bible-*"), HasSubstr("<td>local steps a round, at most</td><td>50</td>"), HasSubstr("are reported")));
  WorkerStanding withholding = TestedStanding();
  withholding.config.set_withhold_losses(true);
  EXPECT_THAT(StatusPage(withholding, kNow), HasSubstr("stay here"));
}

TEST(WorkerStatusPageTest, TellsOfCertificateAndQuietHours) {
  WorkerStanding standing = TestedStanding();
  EXPECT_THAT(StatusPage(standing, kNow), AllOf(HasSubstr("in 30 days"), HasSubstr("<td>08:00-18:00</td>"), HasSubstr(">connected<")));
  standing.certificate_expiry = kNow - absl::Hours(1);
  standing.quiet_until = "18:00";
  EXPECT_THAT(StatusPage(standing, kNow), AllOf(HasSubstr(", expired"), HasSubstr("quiet now, until 18:00"), HasSubstr(">quiet<")));
}

TEST(WorkerStatusPageTest, EscapesWhateverOthersSaid) {
  WorkerStanding standing = TestedStanding();
  standing.run = kHostile;
  standing.notes = {{kNow, kHostile}};
  standing.sent[0].run_id = kHostile;
  standing.sent[0].to = kHostile;
  EXPECT_THAT(StatusPage(standing, kNow), AllOf(Not(HasSubstr("<script")), HasSubstr("&lt;script&gt;alert(&#39;x&#39;)")));
}

TEST(WorkerStatusPageTest, LoadsNothingAndRunsNothing) {
  EXPECT_THAT(StatusPage(TestedStanding(), kNow),
              AllOf(Not(HasSubstr("<script")), Not(HasSubstr("http://")), Not(HasSubstr("https://")), Not(HasSubstr("url("))));
}

TEST(WorkerStatusPageTest, TellsATerminalTheSumsAndTheNewest) {
  const std::string text = SentText({SentUpdate(6), SentUpdate(7)}, 1);
  EXPECT_THAT(text, AllOf(HasSubstr("bible-1234: 2 updates, 10 kB"), HasSubstr("  7  update  5 kB"), Not(HasSubstr("  6  update"))));
  EXPECT_EQ(SentText({}, 1), "nothing was sent yet\n");
}

}  // namespace
}  // namespace tributary::worker
