#include "coordinator/site_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace tributary::coordinator {
namespace {

using ::testing::ElementsAre;

TEST(SiteRegistry, KnowsItsSitesInOrder) {
  const SiteRegistry sites({"paris", "berlin"});
  EXPECT_TRUE(sites.Contains("paris"));
  EXPECT_FALSE(sites.Contains("oslo"));
  EXPECT_EQ(sites.size(), 2U);
  EXPECT_THAT(sites.Names(), ElementsAre("berlin", "paris"));
}

TEST(SiteRegistry, ASiteNamedTwiceIsOne) {
  EXPECT_EQ(SiteRegistry({"berlin", "berlin"}).size(), 1U);
}

TEST(SiteRegistry, AnAddedSiteBelongs) {
  SiteRegistry sites({"berlin"});
  EXPECT_TRUE(sites.Add("oslo"));
  EXPECT_TRUE(sites.Contains("oslo"));
  EXPECT_FALSE(sites.Add("oslo")) << "it was there already";
}

TEST(SiteRegistry, ARemovedSiteBelongsNoLonger) {
  SiteRegistry sites({"berlin", "oslo"});
  EXPECT_TRUE(sites.Remove("oslo"));
  EXPECT_FALSE(sites.Contains("oslo"));
  EXPECT_FALSE(sites.Remove("oslo")) << "it was not there";
}

TEST(SiteRegistry, ReplacesTheWholeList) {
  SiteRegistry sites({"berlin", "oslo"});
  sites.Replace({"paris", "oslo"});
  EXPECT_THAT(sites.Names(), ElementsAre("oslo", "paris"));
}

TEST(SiteRegistry, WhoAsksDuringAReplacementSeesOneListOrTheOther) {
  SiteRegistry sites({"a", "b"});
  std::atomic<bool> over = false;
  std::thread other([&] {
    for (int i = 0; i < 1000; ++i) {
      sites.Replace({"c", "d", "e"});
      sites.Replace({"a", "b"});
    }
    over = true;
  });
  while (!over) {
    const std::vector<std::string> names = sites.Names();
    EXPECT_TRUE(names == std::vector<std::string>({"a", "b"}) || names == std::vector<std::string>({"c", "d", "e"}));
  }
  other.join();
}

}  // namespace
}  // namespace tributary::coordinator
