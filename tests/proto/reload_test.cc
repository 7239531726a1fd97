#include "proto/config/reload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(TakeOver, TakesTheKeysThatMayChangeAndNamesTheOthers) {
  const std::string old_text = "old";
  const std::string new_text = "new";
  v1::WorkerConfig in_force;
  in_force.set_site(old_text);
  in_force.mutable_consent()->add_runs(old_text);
  in_force.mutable_tls()->set_ca(old_text);
  v1::WorkerConfig read = in_force;
  read.set_site(new_text);
  read.mutable_consent()->clear_runs();
  read.mutable_consent()->add_runs(new_text);
  read.mutable_consent()->set_max_rounds(3);
  const Reloaded reloaded = TakeOver(read, {"consent", "tls"}, &in_force);
  EXPECT_THAT(reloaded.taken, ElementsAre("consent"));
  EXPECT_THAT(reloaded.left, ElementsAre("site"));
  EXPECT_EQ(reloaded.Text(), "reloaded: consent. Changed, and not in force before a restart: site");
  EXPECT_EQ(in_force.site(), old_text);
  EXPECT_THAT(in_force.consent().runs(), ElementsAre(new_text));
  EXPECT_EQ(in_force.consent().max_rounds(), 3U);
  EXPECT_EQ(in_force.tls().ca(), old_text);
}

TEST(TakeOver, FindsNothingWhereNothingChanged) {
  v1::CoordinatorConfig in_force;
  in_force.add_sites(std::string("berlin"));
  const v1::CoordinatorConfig read = in_force;
  const Reloaded reloaded = TakeOver(read, {"sites"}, &in_force);
  EXPECT_THAT(reloaded.taken, IsEmpty());
  EXPECT_EQ(reloaded.Text(), "nothing else to reload");
  EXPECT_EQ(in_force.sites_size(), 1);
}

TEST(LogFormatOf, IsTextUnlessJsonIsSaid) {
  EXPECT_EQ(LogFormatOf(v1::Logging::FORMAT_UNSPECIFIED), LogFormat::kText);
  EXPECT_EQ(LogFormatOf(v1::Logging::TEXT), LogFormat::kText);
  EXPECT_EQ(LogFormatOf(v1::Logging::JSON), LogFormat::kJson);
}

TEST(LogLevelOf, KnowsEveryLevel) {
  EXPECT_EQ(LogLevelOf(v1::Logging::DEBUG), LogLevel::kDebug);
  EXPECT_EQ(LogLevelOf(v1::Logging::LEVEL_UNSPECIFIED), LogLevel::kInfo);
  EXPECT_EQ(LogLevelOf(v1::Logging::WARNING), LogLevel::kWarning);
  EXPECT_EQ(LogLevelOf(v1::Logging::ERROR), LogLevel::kError);
}

}  // namespace
}  // namespace tributary
