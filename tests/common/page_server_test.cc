#include "common/page_server.h"

#include <arpa/inet.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "common/exit_codes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Far more than any test needs, and far less than a run of the tests may take.
constexpr absl::Duration kPatience = absl::Minutes(1);

std::unique_ptr<PageServer> Serve(const std::string& listen, const PageServer::Limits& limits = {}) {
  auto server = PageServer::Start(listen, "tributary-test 1.2.3", {MetricsPage([] { return "tributary_round 7\n"; })}, limits);
  EXPECT_TRUE(server.ok()) << server.status();
  return *std::move(server);
}

// A client's connection, on which nothing is done but what a test does.
class Connection {
 public:
  explicit Connection(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    timeval patience = {absl::ToInt64Seconds(kPatience), 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { close(socket_); }

  bool Send(const std::string& bytes) { return send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == ssize_t(bytes.size()); }
  // All that comes until the server ends the connection; "(still open)" if it does not.
  std::string Rest() {
    std::string rest;
    char bytes[4096];
    while (true) {
      const ssize_t received = recv(socket_, bytes, sizeof(bytes), 0);
      if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return "(still open)";
      }
      if (received <= 0) {
        return rest;
      }
      rest.append(bytes, static_cast<size_t>(received));
    }
  }

 private:
  const int socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
};

// The answer to a request for "/" of `host`.
std::string Ask(int port, const std::string& host) {
  Connection connection(port);
  EXPECT_TRUE(connection.Send("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n"));
  return connection.Rest();
}

void ExpectAnswers(const PageServer& server, const std::string& host = "127.0.0.1") {
  httplib::Client client(host, server.port());
  client.set_read_timeout(absl::ToInt64Seconds(kPatience));
  const httplib::Result page = client.Get("/metrics");
  ASSERT_TRUE(page) << httplib::to_string(page.error());
  EXPECT_EQ(page->status, 200);
  EXPECT_EQ(page->body, "tributary_round 7\n");
  EXPECT_EQ(page->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
}

TEST(PageServerTest, ServesItsPages) {
  ExpectAnswers(*Serve("127.0.0.1:0"));
}

TEST(PageServerTest, LinksToItsPagesAtTheRoot) {
  const auto server = Serve("127.0.0.1:0");
  const httplib::Result page = httplib::Client("127.0.0.1", server->port()).Get("/");
  ASSERT_TRUE(page);
  EXPECT_THAT(page->body, AllOf(HasSubstr("<h1>tributary-test 1.2.3</h1>"), HasSubstr("<a href=\"/metrics\">/metrics</a>")));
  EXPECT_EQ(page->get_header_value("Content-Type"), "text/html; charset=utf-8");
}

TEST(PageServerTest, HasNoOtherPage) {
  const auto server = Serve("127.0.0.1:0");
  const httplib::Result page = httplib::Client("127.0.0.1", server->port()).Get("/secret");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->status, 404);
}

TEST(PageServerTest, ListensOnIpv6) {
  const auto server = Serve("[::1]:0");
  EXPECT_THAT(server->address(), ::testing::MatchesRegex("\\[::1\\]:[1-9][0-9]*"));
  ExpectAnswers(*server, "::1");
}

TEST(PageServerTest, ListensOnBothFamiliesAtTheIpv6Wildcard) {
  const auto server = Serve("[::]:0");
  ExpectAnswers(*server, "::1");
  ExpectAnswers(*server, "127.0.0.1");
}

TEST(PageServerTest, AnswersBesideAnyNumberOfIdleConnections) {
  // Idle ones are not ended by time in this test, only by those that need their place.
  const auto server = Serve("127.0.0.1:0", {.connections = 3, .time = absl::Hours(1)});
  std::vector<std::unique_ptr<Connection>> idle;
  for (int i = 0; i < 20; ++i) {
    idle.push_back(std::make_unique<Connection>(server->port()));
  }
  ExpectAnswers(*server);
}

TEST(PageServerTest, AnswersBesideConnectionsThatSendHalfARequest) {
  const auto server = Serve("127.0.0.1:0", {.connections = 3, .time = absl::Hours(1)});
  std::vector<std::unique_ptr<Connection>> slow;
  for (int i = 0; i < 20; ++i) {
    slow.push_back(std::make_unique<Connection>(server->port()));
    slow.back()->Send("GET /metrics HTTP/1.1\r\nHost: ");
  }
  ExpectAnswers(*server);
}

TEST(PageServerTest, EndsAnIdleConnectionAfterItsTime) {
  const auto server = Serve("127.0.0.1:0", {.time = absl::Milliseconds(50)});
  EXPECT_EQ(Connection(server->port()).Rest(), "");
}

TEST(PageServerTest, EndsAConnectionWhoseRequestNeverEnds) {
  const auto server = Serve("127.0.0.1:0", {.time = absl::Hours(1), .request_bytes = 1000});
  Connection endless(server->port());
  endless.Send("GET /metrics HTTP/1.1\r\n");
  for (int i = 0; i < 1000 && endless.Send("X-Header: 0123456789\r\n"); ++i) {
  }
  EXPECT_NE(endless.Rest(), "(still open)");
}

TEST(PageServerTest, ServesOneRequestAConnection) {
  const auto server = Serve("127.0.0.1:0", {.time = absl::Hours(1)});
  Connection connection(server->port());
  connection.Send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(connection.Rest(), AllOf(HasSubstr("Connection: close"), HasSubstr("tributary_round 7")));
}

TEST(PageServerTest, StopsBesideIdleConnections) {
  auto server = Serve("127.0.0.1:0", {.time = absl::Hours(1)});
  const Connection idle(server->port());
  server.reset();
}

TEST(PageServerTest, SaysWhyAnAddressCannotBeListenedOn) {
  const auto first = Serve("127.0.0.1:0");
  const absl::Status taken = PageServer::Start(first->address(), "", {}).status();
  EXPECT_EQ(ExitCodeOf(taken), ExitCode::kUsage);
  EXPECT_EQ(taken.message(),
            "cannot listen on " + first->address() + ": another program is listening there; stop it, or choose another port");
  EXPECT_THAT(std::string(PageServer::Start("9465", "", {}).status().message()), HasSubstr("'9465' has no port"));
}

TEST(PageServerTest, GivesAStatusPageToWhoAsksForThisMachineByName) {
  const auto server = PageServer::Start("127.0.0.1:0", "test", {StatusPageAt([] { return "<p>well</p>"; })});
  ASSERT_TRUE(server.ok()) << server.status();
  for (const char* host : {"127.0.0.1:9465", "localhost", "[::1]:80", "[::1]"}) {
    const std::string answer = Ask((*server)->port(), host);
    EXPECT_THAT(answer, AllOf(HasSubstr("200 OK"), HasSubstr("<p>well</p>"), HasSubstr("Content-Security-Policy: default-src 'none'")))
        << host;
  }
  for (const char* host : {"evil.example:9465", "127.0.0.1.evil.example", "evil.example:127.0.0.1", ""}) {
    EXPECT_THAT(Ask((*server)->port(), host), AllOf(HasSubstr("403"), Not(HasSubstr("well")))) << host;
  }
}

TEST(PageServerTest, DoesNotMakeAStatusPageForEveryOneWhoAsks) {
  std::atomic<int> made = 0;
  const PageServer::Page page = StatusPageAt([&made] { return std::to_string(++made); }, absl::Hours(1));
  EXPECT_EQ(page.text(), "1");
  EXPECT_EQ(page.text(), "1");
}

}  // namespace
}  // namespace tributary
