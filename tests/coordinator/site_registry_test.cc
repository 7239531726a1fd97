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

v1::SiteRecord Record(const std::string& name, v1::SiteRecord::Standing standing) {
  v1::SiteRecord record;
  record.set_name(name);
  record.set_standing(standing);
  return record;
}

TEST(SiteRegistry, ARecordLetsASiteInOrThrowsItOut) {
  SiteRegistry sites({"berlin"});
  sites.Put(Record("oslo", v1::SiteRecord::ACTIVE));
  EXPECT_THAT(sites.Names(), ElementsAre("berlin", "oslo"));
  sites.Put(Record("oslo", v1::SiteRecord::SUSPENDED));
  EXPECT_THAT(sites.Names(), ElementsAre("berlin"));
  EXPECT_EQ(sites.Check("oslo", absl::InfiniteFuture()).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(sites.Check("rome", absl::InfiniteFuture()).code(), absl::StatusCode::kNotFound);
}

TEST(SiteRegistry, WhatAnOperatorThrewOutTheConfigurationDoesNotLetIn) {
  SiteRegistry sites({"berlin", "oslo"});
  sites.Put(Record("berlin", v1::SiteRecord::REVOKED));
  sites.Replace({"berlin", "oslo"});
  EXPECT_FALSE(sites.Contains("berlin"));
}

TEST(SiteRegistry, WhatTheConfigurationLetsInLeavesWithIt) {
  SiteRegistry sites({"berlin"});
  sites.Put(Record("berlin", v1::SiteRecord::STANDING_UNSPECIFIED));
  EXPECT_TRUE(sites.Contains("berlin"));
  sites.Replace({"oslo"});
  EXPECT_FALSE(sites.Contains("berlin"));
  EXPECT_FALSE(sites.Find("berlin").has_value());
}

TEST(SiteRegistry, CertificatesFromBeforeARevocationAreNotAccepted) {
  SiteRegistry sites({});
  v1::SiteRecord record = Record("berlin", v1::SiteRecord::ACTIVE);
  record.set_certificates_since_unix_ms(1'700'000'000'500);
  sites.Put(record);
  EXPECT_EQ(sites.Check("berlin", absl::FromUnixSeconds(1'699'999'999)).code(), absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(sites.Check("berlin", absl::FromUnixSeconds(1'700'000'000)).ok()) << "certificates count in seconds";
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
