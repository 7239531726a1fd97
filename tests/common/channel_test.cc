// Real calls through a real proxy, over loopback.
#include "common/channel.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/escaping.h"
#include "absl/synchronization/notification.h"
#include "common/clock.h"
#include "common/pki.h"
#include "common/tls.h"
#include "tests/common/test_folder.h"
#include "tests/common/unchecked_certificates.h"
#include "tests/support/connect_proxy.h"
#include "tests/support/guarded_server.h"

namespace tributary {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

// Refuses every call, and by that shows that it was reached.
class RefusingService final : public grpc::CallbackGenericService {
  class Reactor final : public grpc::ServerGenericBidiReactor {
   public:
    Reactor() { Finish(grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "reached")); }
    void OnDone() override { delete this; }
  };
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override { return new Reactor(); }
};

class ChannelTest : public ::testing::Test {
 protected:
  // A coordinator whose certificate names `host`.
  void Serve(const std::string& host = "127.0.0.1") {
    ASSERT_TRUE(InitCa(directory_.path(), "demo", absl::Hours(24)).ok());
    ASSERT_TRUE(IssueCertificate(directory_.path(), {.identity = {"demo", Role::kCoordinator, ""}, .hosts = {host}}).ok());
    ASSERT_TRUE(IssueCertificate(directory_.path(), {.identity = {"demo", Role::kSite, "berlin"}, .hosts = {}}).ok());
    grpc::ServerBuilder builder;
    builder.RegisterCallbackGenericService(&service_);
    server_ = std::make_unique<GuardedServer>(builder, Unchecked(Files("coordinator")));
    port_ = server_->port();
  }

  TlsFiles Files(const std::string& stem) const {
    return {directory_.File("ca.crt"), directory_.File(stem + ".crt"), directory_.File(stem + ".key")};
  }

  // "reached", or the error as ExplainConnectionFailure has it.
  std::string Call(const std::string& host, const std::string& proxy) {
    const std::string address = absl::StrCat(host, ":", port_);
    const Route route = ChooseRoute(address, proxy, {}).value();
    const CertificatePair own = ReadUnchecked(Files("site-berlin"));
    grpc::GenericStub stub(MakeChannel(address, MakeChannelCredentials(own), route, grpc::ChannelArguments()));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(Clock::Real().WallNow() + absl::Seconds(20)));
    const grpc::Slice empty;
    const grpc::ByteBuffer request(&empty, 1);
    grpc::ByteBuffer response;
    grpc::Status status;
    absl::Notification done;
    stub.UnaryCall(&context, "/test/Reach", {}, &request, &response, [&](grpc::Status result) {
      status = std::move(result);
      done.Notify();
    });
    done.WaitForNotification();
    const absl::Status plain(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
    return std::string(ExplainConnectionFailure(plain, address, route, &own).message());
  }

  RefusingService service_;
  std::unique_ptr<GuardedServer> server_;
  int port_ = 1;
  const TestFolder directory_;
};

TEST_F(ChannelTest, ReachesTheCoordinatorThroughAProxyWithTls) {
  Serve();
  ConnectProxy proxy;
  EXPECT_EQ(Call("127.0.0.1", proxy.url()), "reached");
  ASSERT_THAT(proxy.requests(), SizeIs(1));
  EXPECT_THAT(proxy.requests()[0],
              AllOf(StartsWith(absl::StrCat("CONNECT 127.0.0.1:", port_, " HTTP/1.")), Not(HasSubstr("Proxy-Authorization"))));
}

TEST_F(ChannelTest, ExpectsTheCoordinatorsNameInTheCertificateAndNotTheProxys) {
  Serve("coordinator.example.org");
  ConnectProxy proxy;
  EXPECT_EQ(Call("coordinator.example.org", proxy.url()), "reached") << "the proxy, not this machine, resolves the name";
  EXPECT_THAT(Call("127.0.0.1", proxy.url()), Not(HasSubstr("reached")));
}

TEST_F(ChannelTest, GivesTheProxyItsCredentials) {
  Serve();
  ConnectProxy proxy({.wanted = absl::Base64Escape("ada:s@cret")});
  EXPECT_EQ(Call("127.0.0.1", "http://ada:s%40cret@" + proxy.address()), "reached");
}

TEST_F(ChannelTest, SaysThatAProxyWantsCredentials) {
  Serve();
  ConnectProxy proxy({.wanted = absl::Base64Escape("ada:secret")});
  EXPECT_EQ(Call("127.0.0.1", proxy.url()),
            absl::StrCat("the proxy wants a user name and a password (407): set `proxy: http://USER:PASSWORD@", proxy.address(),
                         "`, with %XX for special characters"));
}

TEST_F(ChannelTest, SaysThatAProxyDoesNotAcceptTheCredentials) {
  Serve();
  ConnectProxy proxy({.wanted = absl::Base64Escape("ada:secret")});
  EXPECT_THAT(Call("127.0.0.1", "http://ada:wrong@" + proxy.address()),
              AllOf(HasSubstr("does not accept the user name and password that are set for it (407)"), Not(HasSubstr("wrong"))));
}

TEST_F(ChannelTest, SaysWhatAnInterceptingProxyPresents) {
  Serve();
  ASSERT_TRUE(InitCa(directory_.File("ours"), "demo", absl::Hours(24)).ok());
  std::filesystem::copy_file(directory_.File("ours/ca.crt"), directory_.File("ca.crt"), std::filesystem::copy_options::overwrite_existing);
  ConnectProxy proxy({.wanted = absl::Base64Escape("ada:secret")});
  EXPECT_THAT(Call("127.0.0.1", "http://ada:secret@" + proxy.address()),
              AllOf(HasSubstr("the server's certificate is not trusted here"), HasSubstr("It presents 'CN=coordinator,O=demo'")))
      << "asked for through the proxy";
  EXPECT_THAT(proxy.requests(), SizeIs(2));
}

TEST_F(ChannelTest, SaysThatAProxyAllowsNoTunnel) {
  Serve();
  ConnectProxy proxy({.refusal = "403 Forbidden"});
  EXPECT_THAT(Call("127.0.0.1", proxy.url()), HasSubstr(absl::StrCat("allows no tunnel to 127.0.0.1:", port_, " (403)")));
}

TEST_F(ChannelTest, SaysThatAProxyCannotReachTheCoordinator) {
  Serve();
  server_->Stop();
  server_.reset();
  ConnectProxy proxy;
  EXPECT_THAT(Call("127.0.0.1", proxy.url()), HasSubstr(absl::StrCat("made no tunnel to 127.0.0.1:", port_, " (502)")));
}

TEST_F(ChannelTest, HeedsNoVariableOfTheEnvironment) {
  Serve();
  ConnectProxy proxy;
  // Whatever gRPC reads itself; what ChooseRoute was given says "directly".
  setenv("https_proxy", proxy.url().c_str(), 1);
  EXPECT_EQ(Call("127.0.0.1", ""), "reached");
  EXPECT_THAT(proxy.requests(), IsEmpty());
  setenv("no_proxy", "*", 1);
  EXPECT_EQ(Call("127.0.0.1", proxy.url()), "reached");
  EXPECT_THAT(proxy.requests(), SizeIs(1));
  unsetenv("https_proxy");
  unsetenv("no_proxy");
}

}  // namespace
}  // namespace tributary
