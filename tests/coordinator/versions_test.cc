// Workers of other releases than the coordinator's: the one before, the one after, and those that are too far away.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "proto/config/capabilities.h"
#include "proto/protocol_version.h"
#include "tests/coordinator/federation.h"

namespace tributary::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void OfTheReleaseBefore(v1::Hello& hello) {
  hello.clear_newest_protocol_version();
  hello.clear_capabilities();
}

// Speaks this release's version and another, can do more, and says things that only it knows.
void OfTheReleaseAfter(v1::Hello& hello) {
  hello.set_newest_protocol_version(kNewestProtocolVersion + 1);
  for (const std::string& word : OwnCapabilities()) {
    hello.add_capabilities(word);
  }
  hello.add_capabilities("mode:telepathy");
  hello.GetReflection()->MutableUnknownFields(&hello)->AddLengthDelimited(1000, "said by a newer release");
}

void Speaks(v1::Hello& hello, uint32_t oldest, uint32_t newest) {
  hello.set_protocol_version(oldest);
  hello.set_newest_protocol_version(newest);
}

v1::Welcome WelcomeOf(const FakeSite& site) {
  const auto it = std::find_if(site.received.begin(), site.received.end(), [](const auto& message) { return message.has_welcome(); });
  return it == site.received.end() ? v1::Welcome() : it->welcome();
}

TEST(Versions, NeighbouringReleasesTrainOneModel) {
  Federation alike(3);
  const std::string reference = Submit(alike, MakeSpec("toy", 6, 3));
  alike.ConnectAll();
  alike.RunToEnd(reference);

  Federation mixed(3);
  mixed.site(0).alter_hello = OfTheReleaseBefore;
  mixed.site(2).alter_hello = OfTheReleaseAfter;
  const std::string run = Submit(mixed, MakeSpec("toy", 6, 3));
  mixed.ConnectAll();
  v1::WorkerMessage unheard_of;
  unheard_of.GetReflection()->MutableUnknownFields(&unheard_of)->AddLengthDelimited(1000, "a body that only a newer release knows");
  mixed.site(2).Say(unheard_of);
  mixed.RunToEnd(run);
  EXPECT_EQ(mixed.Status(run).state(), v1::FINISHED);
  EXPECT_EQ(CommonHash(mixed, run), CommonHash(alike, reference));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(WelcomeOf(mixed.site(i)).protocol_version(), kNewestProtocolVersion) << i;
    EXPECT_EQ(SiteOf(mixed.Status(run), mixed.site(i).name()).updates_included(), 6u) << i;
  }
}

TEST(Versions, TheCoordinatorTellsWhatItCanDo) {
  Federation federation(1);
  federation.ConnectAll();
  EXPECT_EQ(CapabilitiesOf(WelcomeOf(federation.site(0)).capabilities()), OwnCapabilities());
}

TEST(Versions, AWorkerThatIsAheadIsRefusedAndToldToUpgradeTheCoordinator) {
  Federation federation(1);
  federation.site(0).alter_hello = [](v1::Hello& hello) { Speaks(hello, kNewestProtocolVersion + 1, kNewestProtocolVersion + 2); };
  federation.ConnectAll();
  EXPECT_TRUE(absl::IsFailedPrecondition(federation.site(0).closed_with));
  EXPECT_THAT(std::string(federation.site(0).closed_with.message()),
              AllOf(HasSubstr("the worker (9.9-test) version 2 to 3"), HasSubstr("upgrade this coordinator")));
}

TEST(Versions, AWorkerThatIsBehindIsRefusedAndToldToUpgrade) {
  Federation federation(1);
  federation.site(0).alter_hello = [](v1::Hello& hello) { Speaks(hello, kOldestProtocolVersion - 1, 0); };
  federation.ConnectAll();
  EXPECT_TRUE(absl::IsFailedPrecondition(federation.site(0).closed_with));
  EXPECT_THAT(std::string(federation.site(0).closed_with.message()), HasSubstr("upgrade the worker (9.9-test)"));
}

// Can do everything but the run's mode.
void LacksDistro(v1::Hello& hello) {
  for (const std::string& word : OwnCapabilities()) {
    if (word != "mode:distro") {
      hello.add_capabilities(word);
    }
  }
}
constexpr char kLacksDistro[] = "its release 9.9-test lacks mode:distro: upgrade its worker";

TEST(Versions, ASiteThatCannotDoARunIsNamedWhileTheOthersTrain) {
  Federation federation(3);
  federation.site(2).alter_hello = LacksDistro;
  const std::string run = Submit(federation, MakeSpec("toy", 4, 2));
  federation.ConnectAll();
  EXPECT_EQ(SiteOf(federation.Status(run), "site-2").activity(), absl::StrCat("refused: ", kLacksDistro));
  federation.RunToEnd(run);
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
  EXPECT_EQ(federation.site(0).StateHash(), federation.Status(run).state_hash());
  EXPECT_EQ(federation.site(1).StateHash(), federation.Status(run).state_hash());
  const auto& received = federation.site(2).received;
  EXPECT_TRUE(std::none_of(received.begin(), received.end(), [](const auto& message) { return message.has_run_offer(); }));
  const std::vector<JournaledEvent> events = *federation.journal().Events(run);
  EXPECT_TRUE(std::any_of(events.begin(), events.end(), [](const JournaledEvent& event) {
    return event.site == "site-2" && event.kind == "refused" && event.detail == kLacksDistro;
  }));
}

TEST(Versions, ARunThatCannotDoWithoutSuchASiteWaitsAndNamesItUntilItIsUpgraded) {
  Federation federation(2);
  federation.site(1).alter_hello = LacksDistro;
  const std::string run = Submit(federation, MakeSpec("toy", 4, 2));
  federation.ConnectAll();
  EXPECT_EQ(federation.Status(run).state(), v1::WAITING);
  EXPECT_THAT(federation.Status(run).reason(), HasSubstr(absl::StrCat("refused: site-1 (", kLacksDistro, ")")));

  // It is not asked, so its consent is worth nothing.
  v1::WorkerMessage answer;
  answer.mutable_run_answer()->set_run_id(run);
  answer.mutable_run_answer()->set_accepted(true);
  federation.site(1).Say(answer);
  federation.Settle();
  EXPECT_EQ(federation.Status(run).state(), v1::WAITING);

  federation.site(1).Disconnect();
  federation.site(1).alter_hello = nullptr;
  federation.site(1).Connect();
  federation.RunToEnd(run);
  EXPECT_EQ(federation.Status(run).state(), v1::FINISHED);
  CommonHash(federation, run);
}

}  // namespace
}  // namespace tributary::coordinator
