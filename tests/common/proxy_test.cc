#include "common/proxy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/exit_codes.h"

namespace tributary {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kCoordinator[] = "coordinator.example.org:8443";

Route Chosen(const std::string& address, const std::string& configured, const ProxyEnvironment& environment) {
  const absl::StatusOr<Route> route = ChooseRoute(address, configured, environment);
  EXPECT_TRUE(route.ok()) << route.status();
  return route.ok() ? *route : Route();
}

// host:port of the proxy; "": none.
std::string ProxyFor(const std::string& address, const std::string& configured, const ProxyEnvironment& environment) {
  const Route route = Chosen(address, configured, environment);
  return route.proxy.has_value() ? route.proxy->address : "";
}

std::string Refusal(const std::string& configured, const ProxyEnvironment& environment = {}) {
  const absl::Status status = ChooseRoute(kCoordinator, configured, environment).status();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kUsage) << status;
  return std::string(status.message());
}

TEST(ProxyTest, WithoutAWordOfAProxyTheWayIsStraight) {
  const Route route = Chosen(kCoordinator, "", {});
  EXPECT_FALSE(route.proxy.has_value());
  EXPECT_EQ(route.how, "directly");
  EXPECT_EQ(DescribeDestination(kCoordinator, route), kCoordinator);
}

TEST(ProxyTest, TheConfigurationComesBeforeTheEnvironment) {
  const ProxyEnvironment environment = {{"https_proxy", "http://environment:1"}, {"no_proxy", "*"}};
  EXPECT_EQ(ProxyFor(kCoordinator, "http://configured:3128", environment), "configured:3128");
  const Route none = Chosen(kCoordinator, "none", environment);
  EXPECT_FALSE(none.proxy.has_value());
  EXPECT_EQ(none.how, "directly (`proxy: none`)");
}

TEST(ProxyTest, TheEnvironmentIsReadInThisOrder) {
  ProxyEnvironment environment;
  for (const char* name : {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "GRPC_PROXY", "grpc_proxy"}) {
    environment[name] = std::string("http://") + name + ":1";
    EXPECT_EQ(ProxyFor(kCoordinator, "", environment), std::string(name) + ":1");
  }
}

TEST(ProxyTest, TakesOfAnEnvironmentWhatSpeaksOfProxies) {
  const char* const variables[] = {"PATH=/bin", "HTTPS_PROXY=http://ada:a=b@proxy:3128", "no_proxy=", "https_proxy_host=x", nullptr};
  EXPECT_EQ(ProxyEnvironmentOf(variables), (ProxyEnvironment{{"HTTPS_PROXY", "http://ada:a=b@proxy:3128"}, {"no_proxy", ""}}));
}

TEST(ProxyTest, AnEmptyVariableIsAsIfUnset) {
  EXPECT_EQ(ProxyFor(kCoordinator, "", {{"https_proxy", ""}, {"HTTPS_PROXY", "http://proxy:3128"}}), "proxy:3128");
  EXPECT_EQ(ProxyFor(kCoordinator, "", {{"https_proxy", "http://proxy:3128"}, {"no_proxy", " "}}), "proxy:3128");
}

TEST(ProxyTest, ThisMachineIsReachedStraightUnlessTheConfigurationSaysOtherwise) {
  const ProxyEnvironment environment = {{"HTTPS_PROXY", "http://proxy:3128"}};
  for (const char* address : {"localhost:8443", "127.0.0.1:8443", "127.8.9.10:8443", "[::1]:8443"}) {
    EXPECT_EQ(ProxyFor(address, "", environment), "") << address;
    EXPECT_EQ(ProxyFor(address, "http://proxy:3128", {}), "proxy:3128") << address;
  }
  EXPECT_EQ(Chosen("localhost:8443", "", environment).how, "directly (it is this machine)");
}

TEST(ProxyTest, NoProxyNamesHostsDomainsAddressesAndNetworks) {
  const auto is_named = [](const std::string& address, const std::string& list) {
    return ProxyFor(address, "", {{"https_proxy", "http://proxy:3128"}, {"no_proxy", list}}).empty();
  };
  EXPECT_TRUE(is_named(kCoordinator, "*"));
  EXPECT_TRUE(is_named(kCoordinator, "other,coordinator.example.org"));
  EXPECT_TRUE(is_named(kCoordinator, "other, Example.ORG"));
  EXPECT_TRUE(is_named(kCoordinator, ".example.org"));
  EXPECT_TRUE(is_named(kCoordinator, "*.example.org"));
  EXPECT_TRUE(is_named(kCoordinator, "example.org:8443"));
  EXPECT_FALSE(is_named(kCoordinator, "example.org:443"));
  EXPECT_FALSE(is_named(kCoordinator, "ample.org")) << "the end of a word is no domain";
  EXPECT_FALSE(is_named(kCoordinator, "10.0.0.0/8"));
  EXPECT_TRUE(is_named("10.1.2.3:8443", "10.0.0.0/8"));
  EXPECT_TRUE(is_named("10.1.2.3:8443", "10.1.2.3"));
  EXPECT_FALSE(is_named("11.1.2.3:8443", "10.0.0.0/8,2001:db8::/32"));
  EXPECT_FALSE(is_named("10.1.2.3:8443", "10.0.0.0/99"));
  EXPECT_TRUE(is_named("[2001:db8::7]:8443", "2001:db8::/32"));
  EXPECT_TRUE(is_named("[2001:db8::7]:8443", "[2001:db8::7]:8443"));
  EXPECT_FALSE(is_named("[2001:db8::7]:8443", "[2001:db8::7]:443"));
}

TEST(ProxyTest, SaysWhichExceptionApplied) {
  const ProxyEnvironment environment = {{"HTTPS_PROXY", "http://proxy:3128"}, {"NO_PROXY", "example.org"}};
  EXPECT_EQ(Chosen(kCoordinator, "", environment).how, "directly (NO_PROXY in the environment names it)");
  const ProxyEnvironment both = {{"HTTPS_PROXY", "http://proxy:3128"}, {"NO_PROXY", "example.org"}, {"no_grpc_proxy", "other"}};
  EXPECT_EQ(ProxyFor(kCoordinator, "", both), "proxy:3128") << "no_grpc_proxy is asked instead of no_proxy";
}

TEST(ProxyTest, DescribesTheWayWithoutThePassword) {
  const Route route = Chosen(kCoordinator, "", {{"HTTPS_PROXY", "http://ada:s%40cret@proxy.example.org:3128/"}});
  EXPECT_EQ(route.how, "through the proxy http://proxy.example.org:3128 (HTTPS_PROXY in the environment)");
  EXPECT_EQ(DescribeDestination(kCoordinator, route),
            "coordinator.example.org:8443 through the proxy http://proxy.example.org:3128 (HTTPS_PROXY in the environment)");
  EXPECT_EQ(route.proxy->credentials, "ada:s@cret");
}

TEST(ProxyTest, TakesAnAddressWithoutAScheme) {
  EXPECT_EQ(ProxyFor(kCoordinator, "", {{"https_proxy", "proxy:3128"}}), "proxy:3128");
  EXPECT_EQ(ProxyFor(kCoordinator, "", {{"https_proxy", "HTTP://[2001:db8::7]:3128"}}), "[2001:db8::7]:3128");
}

TEST(ProxyTest, RefusesWhatIsNoHttpProxyAndSaysWhereItIsSet) {
  EXPECT_THAT(Refusal("", {{"HTTPS_PROXY", "socks5://proxy:1080"}}),
              AllOf(HasSubstr("HTTPS_PROXY in the environment: 'socks5://proxy:1080' is no HTTP proxy; write http://HOST:PORT"),
                    HasSubstr("or set `proxy: none`")));
  EXPECT_THAT(Refusal("https://proxy:3128"), HasSubstr("only http:// is supported"));
  EXPECT_THAT(Refusal("http://proxy"), HasSubstr("`proxy`: 'http://proxy' is not http://HOST:PORT: 'proxy' has no port"));
  EXPECT_THAT(Refusal("http://proxy:3128/path"), HasSubstr("is not http://HOST:PORT"));
}

TEST(ProxyTest, NoRefusalShowsThePassword) {
  for (const char* url : {"http://ada:secret@proxy", "socks5://ada:secret@proxy:1080", "https://ada:secret@proxy:1", "ada:secret@proxy:0",
                          "http://ada:secret%zz@proxy:3128", "http://ada:secret@more@proxy"}) {
    EXPECT_THAT(Refusal(url), Not(HasSubstr("secret"))) << url;
  }
}

TEST(ProxyTest, ABadVariableThatDoesNotMatterIsNoError) {
  EXPECT_EQ(ProxyFor(kCoordinator, "none", {{"https_proxy", "socks5://proxy:1080"}}), "");
  EXPECT_EQ(ProxyFor("localhost:1", "", {{"https_proxy", "socks5://proxy:1080"}}), "");
  EXPECT_EQ(ProxyFor(kCoordinator, "", {{"https_proxy", "socks5://proxy:1080"}, {"no_proxy", "*"}}), "");
}

}  // namespace
}  // namespace tributary
