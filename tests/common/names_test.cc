#include "common/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace tributary {
namespace {

using ::testing::HasSubstr;

std::string ProblemOf(absl::string_view address, int least_port = 1) {
  return std::string(CheckHostPort(address, least_port).message());
}

TEST(NamesTest, ANameIsADnsLabelInLowerCase) {
  for (const char* good : {"a", "0", "site-1", "a--b"}) {
    EXPECT_TRUE(IsName(good)) << good;
  }
  EXPECT_TRUE(IsName(std::string(63, 'x')));
  for (const char* bad : {"", "-a", "a-", "A", "a.b", "a/b", "a b", "ä", "a\n"}) {
    EXPECT_FALSE(IsName(bad)) << bad;
  }
  EXPECT_FALSE(IsName(std::string(64, 'x')));
}

TEST(NamesTest, ARunIdLeadsNowhereElse) {
  for (const char* good : {"bible-1a2b3c4d", "r", "1"}) {
    EXPECT_TRUE(IsRunId(good)) << good;
  }
  EXPECT_TRUE(IsRunId(std::string(100, 'x')));
  for (const char* bad : {"", "-run", "../run", "run/1", "run.state", "Run", "run 1", "run\n", "l\xc3\xa4uft"}) {
    EXPECT_FALSE(IsRunId(bad)) << bad;
  }
  EXPECT_FALSE(IsRunId(std::string(101, 'x')));
}

TEST(NamesTest, AnAddressIsAHostAndAPort) {
  for (const char* good : {"localhost:1", "127.0.0.1:65535", "a_b.example.org:443", "[::1]:8443", "[fe80::1%eth0]:8443"}) {
    EXPECT_EQ(CheckHostPort(good), absl::OkStatus());
  }
  EXPECT_EQ(CheckHostPort("0.0.0.0:0", /*least_port=*/0), absl::OkStatus());
}

TEST(NamesTest, AnAddressWrittenAsAUrlIsToldWithoutItsScheme) {
  EXPECT_EQ(ProblemOf("https://host:443"), "'https://host:443' is a URL; write host:443, without https://");
  EXPECT_THAT(ProblemOf("https://host/"), HasSubstr("write host:443, without https://"));
  EXPECT_THAT(ProblemOf("http://[::1]/x"), HasSubstr("write [::1]:PORT, without http://"));
  EXPECT_THAT(ProblemOf("dns:///host:443"), HasSubstr("write host:443, without dns://"));
  EXPECT_THAT(ProblemOf("https://"), HasSubstr("write HOST:443, without https://"));
}

TEST(NamesTest, AnAddressWithoutAHostIsToldWhatToWrite) {
  EXPECT_EQ(ProblemOf(":8443"), "':8443' has no host; write HOST:8443");
  EXPECT_THAT(ProblemOf(":9464", 0), HasSubstr("write 0.0.0.0:9464 for all of this machine's addresses"));
  EXPECT_THAT(ProblemOf("a/b:1"), HasSubstr("has no host name"));
  EXPECT_THAT(ProblemOf("a b:1"), HasSubstr("has no host name"));
  EXPECT_THAT(ProblemOf("a:1:2"), HasSubstr("has no host name"));
}

TEST(NamesTest, AnIpv6AddressStandsInBrackets) {
  EXPECT_EQ(ProblemOf("::1:8443"), "'::1:8443' has an IPv6 address without brackets; write [::1]:8443");
  EXPECT_THAT(ProblemOf("fe80::1%eth0:8443"), HasSubstr("write [fe80::1%eth0]:8443"));
  EXPECT_THAT(ProblemOf("::1"), HasSubstr("has no port; write [::1]:PORT"));
  EXPECT_THAT(ProblemOf("[::1]"), HasSubstr("has no port"));
  EXPECT_THAT(ProblemOf("[host]:1"), HasSubstr("has no IPv6 address in its brackets"));
}

TEST(NamesTest, AnAddressWithoutAPortIsRefused) {
  for (const char* bad : {"", "host"}) {
    EXPECT_THAT(ProblemOf(bad), HasSubstr("has no port; write HOST:PORT"));
  }
  for (const char* bad : {"host:", "host:0", "host:65536", "host:-1", "host: 1", "host:1/x", "host:https"}) {
    EXPECT_THAT(ProblemOf(bad), HasSubstr("has no port from 1 to 65535"));
  }
}

}  // namespace
}  // namespace tributary
