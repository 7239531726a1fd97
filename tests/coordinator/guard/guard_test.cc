// The guard with real sockets: bytes go through, and nobody has more than his due. TLS: tests/common/tls_test.cc.
#include "coordinator/guard/guard.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <memory>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "common/clock.h"
#include "common/pki.h"
#include "coordinator/guard/bridge_loop.h"
#include "tests/common/test_folder.h"
#include "tests/common/unchecked_certificates.h"
#include "tests/coordinator/guard/frames.h"

namespace tributary::coordinator {
namespace {

constexpr int kPatienceMs = 20'000;
// A client here may write to a connection that was ended.
[[maybe_unused]] const bool prepared = (signal(SIGPIPE, SIG_IGN), true);

OwnedDescriptor Connect(int port) {
  OwnedDescriptor client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return client;
}

void Send(int descriptor, const std::string& bytes) {
  send(descriptor, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

// The next `size` bytes; fewer if the other side ends before.
std::string Receive(int descriptor, size_t size) {
  std::string bytes;
  while (bytes.size() < size) {
    pollfd wait = {descriptor, POLLIN, 0};
    if (poll(&wait, 1, kPatienceMs) != 1) {
      ADD_FAILURE() << "waited in vain";
      break;
    }
    char piece[4096];
    const ssize_t got = recv(descriptor, piece, std::min(sizeof piece, size - bytes.size()), 0);
    if (got <= 0) {
      break;
    }
    bytes.append(piece, static_cast<size_t>(got));
  }
  return bytes;
}

// Whether the other side ends the connection, having sent nothing.
bool Ends(int descriptor) {
  return Receive(descriptor, 1).empty();
}

bool IsOpen(int descriptor) {
  char byte = 0;
  return recv(descriptor, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

class GuardTest : public ::testing::Test {
 protected:
  void Open(Guard::Options options = {}, Guard::Belongs belonging = nullptr) {
    options.metrics = &metrics_;
    guard_ = Guard::Start("127.0.0.1:0", std::move(options)).value();
    ASSERT_TRUE(guard_
                    ->Admit(
                        std::move(belonging),
                        [this](int descriptor) {
                          const std::lock_guard<std::mutex> lock(mutex_);
                          handed_over_.emplace_back(descriptor);
                          changed_.notify_all();
                        },
                        [this](const Peer& peer) { return yields_ != nullptr && yields_(peer); })
                    .ok());
  }

  // The server's end of the next connection.
  OwnedDescriptor Next() {
    std::unique_lock<std::mutex> lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::milliseconds(kPatienceMs), [this] { return !handed_over_.empty(); }));
    OwnedDescriptor next = std::move(handed_over_.front());
    handed_over_.pop_front();
    return next;
  }

  // Waits until so many connections were turned away for this reason.
  void AwaitRefusals(absl::string_view reason, int count = 1) const {
    const std::string line = absl::StrCat("tributary_connections_refused_total{reason=\"", reason, "\"} ", count, "\n");
    const absl::Time until = Clock::Real().Now() + absl::Milliseconds(kPatienceMs);
    while (!absl::StrContains(metrics_.Text(), line)) {
      ASSERT_LT(Clock::Real().Now(), until) << "waited in vain for " << line;
      std::this_thread::yield();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<OwnedDescriptor> handed_over_;  // under mutex_
  Guard::Yields yields_;                     // to be set before anybody connects
  CoordinatorMetrics metrics_{{}};
  std::unique_ptr<Guard> guard_;
};

TEST_F(GuardTest, BytesGoThroughBothWaysHoweverMany) {
  Open();
  const OwnedDescriptor client = Connect(guard_->port());
  const OwnedDescriptor server = Next();
  // More than all buffers on the way hold.
  std::string sent = Preface();
  for (int i = 0; i < 64; ++i) {
    sent += MakeFrame(kData, 200'000 + i);
  }
  std::thread writer([&] {
    for (size_t at = 0; at < sent.size();) {
      at += static_cast<size_t>(std::max<ssize_t>(0, send(client.get(), sent.data() + at, sent.size() - at, MSG_NOSIGNAL)));
    }
  });
  EXPECT_EQ(Receive(server.get(), sent.size()), sent);
  writer.join();
  std::thread answerer([&] {
    for (size_t at = 0; at < sent.size();) {
      at += static_cast<size_t>(std::max<ssize_t>(0, send(server.get(), sent.data() + at, sent.size() - at, MSG_NOSIGNAL)));
    }
  });
  EXPECT_EQ(Receive(client.get(), sent.size()), sent);
  answerer.join();
}

TEST_F(GuardTest, WhatTheServerSaidLastReachesTheClient) {
  Open();
  const OwnedDescriptor client = Connect(guard_->port());
  OwnedDescriptor server = Next();
  Send(server.get(), "goodbye");
  server = OwnedDescriptor();
  EXPECT_EQ(Receive(client.get(), 100), "goodbye");
}

TEST_F(GuardTest, WhatTheServerSaidLastReachesAlsoAClientThatTalks) {
  Open();
  const OwnedDescriptor client = Connect(guard_->port());
  OwnedDescriptor server = Next();
  Send(client.get(), Preface());
  Send(server.get(), "goodbye");
  server = OwnedDescriptor();  // with what the client said unread
  Send(client.get(), MakeFrame(kData, 100));
  EXPECT_EQ(Receive(client.get(), 100), "goodbye");
}

TEST_F(GuardTest, APeerIsFoundByItsDescriptorUntilItIsGone) {
  Open();
  OwnedDescriptor client = Connect(guard_->port());
  const OwnedDescriptor server = Next();
  const std::string name = absl::StrCat("fd:", server.get());
  ASSERT_TRUE(guard_->peers().Find(name).has_value());
  EXPECT_EQ(guard_->peers().Find(name)->address.substr(0, 10), "127.0.0.1:");
  client = OwnedDescriptor();
  EXPECT_TRUE(Ends(server.get()));
  guard_->AwaitEmpty(absl::Milliseconds(kPatienceMs));
  EXPECT_FALSE(guard_->peers().Find(name).has_value());
}

TEST_F(GuardTest, AClientOfAnotherProtocolIsToldByAnAnswerOfYetAnother) {
  Open();
  const OwnedDescriptor client = Connect(guard_->port());
  const OwnedDescriptor server = Next();  // which says nothing
  Send(client.get(), std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));
  EXPECT_EQ(Receive(client.get(), 1000).substr(0, 12), "HTTP/1.1 400");
}

TEST_F(GuardTest, AFloodOfFramesEndsItsConnectionAndNoOther) {
  Open();
  const OwnedDescriptor honest = Connect(guard_->port());
  const OwnedDescriptor honest_server = Next();
  const OwnedDescriptor hostile = Connect(guard_->port());
  const OwnedDescriptor hostile_server = Next();
  std::string flood = Preface();
  for (int i = 0; i < 3000; ++i) {
    flood += MakeFrame(kPing, 8, 0, 0);
  }
  Send(hostile.get(), flood);
  EXPECT_TRUE(Ends(hostile.get()));
  AwaitRefusals("frames");
  Send(honest.get(), Preface());
  EXPECT_EQ(Receive(honest_server.get(), Preface().size()), Preface());
}

TEST_F(GuardTest, OneConnectionTooManyIsClosed) {
  Open({.connections = 2});
  const OwnedDescriptor first = Connect(guard_->port());
  const OwnedDescriptor second = Connect(guard_->port());
  const OwnedDescriptor servers[] = {Next(), Next()};
  const OwnedDescriptor third = Connect(guard_->port());
  EXPECT_TRUE(Ends(third.get()));
  AwaitRefusals("crowded");
  EXPECT_TRUE(IsOpen(first.get()));
}

TEST_F(GuardTest, OrTheOldestIs) {
  Open({.connections = 2, .full = Guard::Full::kCloseOldest});
  const OwnedDescriptor first = Connect(guard_->port());
  const OwnedDescriptor first_server = Next();
  const OwnedDescriptor second = Connect(guard_->port());
  const OwnedDescriptor second_server = Next();
  const OwnedDescriptor third = Connect(guard_->port());
  EXPECT_TRUE(Ends(first.get()));
  EXPECT_TRUE(IsOpen(second.get()));
  EXPECT_TRUE(IsOpen(third.get()));
}

TEST_F(GuardTest, AConnectionEndsWithItsLifetime) {
  Open({.lifetime = absl::Milliseconds(100)});
  const OwnedDescriptor client = Connect(guard_->port());
  const OwnedDescriptor server = Next();
  EXPECT_TRUE(Ends(client.get()));
}

TEST(BridgeLoopTest, AConnectionEndsWithItsCertificate) {
  std::promise<absl::Status> gone;
  std::future<absl::Status> why = gone.get_future();
  std::atomic<uint64_t> held = 0;
  int outside[2];
  int inside[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, outside), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, inside), 0);
  const OwnedDescriptor client(outside[1]);
  const OwnedDescriptor server(inside[1]);
  const auto loop = BridgeLoop::Start([&gone](uint64_t, const absl::Status& status) { gone.set_value(status); }).value();
  loop->Add(1,
            std::make_unique<Bridge>(OwnedDescriptor(outside[0]), nullptr, OwnedDescriptor(inside[0]),
                                     std::make_shared<MessageBudget>(&held, 1 << 20)),
            {.certificate_end = absl::UnixEpoch()});
  ASSERT_EQ(why.wait_for(std::chrono::milliseconds(kPatienceMs)), std::future_status::ready);
  EXPECT_TRUE(absl::IsUnauthenticated(why.get()));
}

TEST_F(GuardTest, AStrangerMaySayLittle) {
  Open({}, [](const Peer&) { return Belonging::kStranger; });
  const OwnedDescriptor client = Connect(guard_->port());
  const OwnedDescriptor server = Next();
  Send(client.get(), Preface());
  EXPECT_EQ(Receive(server.get(), Preface().size()), Preface());
  Send(client.get(), MakeFrame(kData, 100'000));
  EXPECT_TRUE(Ends(client.get()));
  AwaitRefusals("stranger");
}

TEST_F(GuardTest, WhoIsNoLongerAMemberIsClosedWithoutHavingSaidAnything) {
  std::atomic<Belonging> belonging = Belonging::kMember;
  Open({}, [&](const Peer&) { return belonging.load(); });
  const OwnedDescriptor client = Connect(guard_->port());
  const OwnedDescriptor server = Next();
  guard_->Review();
  EXPECT_TRUE(IsOpen(client.get()));
  belonging = Belonging::kStranger;
  guard_->Review();
  EXPECT_TRUE(Ends(client.get()));
}

class GuardTlsTest : public GuardTest {
 protected:
  void SetUp() override {
    ASSERT_TRUE(InitCa(directory_.path(), "demo", absl::Hours(24)).ok());
    ASSERT_TRUE(IssueCertificate(directory_.path(), {.identity = {"demo", Role::kCoordinator, ""}, .hosts = {"127.0.0.1"}}).ok());
    ASSERT_TRUE(IssueCertificate(directory_.path(), {.identity = {"demo", Role::kSite, "berlin"}, .hosts = {}}).ok());
    Guard::Options options;
    options.certificates = Unchecked(Files("coordinator"));
    Open(std::move(options));
  }
  TlsFiles Files(const std::string& stem) const {
    return {directory_.File("ca.crt"), directory_.File(stem + ".crt"), directory_.File(stem + ".key")};
  }

  // A client whose handshake is done, over a socket that blocks.
  SslPtr Handshake(const OwnedDescriptor& socket) {
    const std::unique_ptr<SSL_CTX, OpenSslDelete<SSL_CTX_free>> context(SSL_CTX_new(TLS_client_method()));
    const TlsFiles files = Files("site-berlin");
    SSL_CTX_use_certificate_file(context.get(), files.certificate.c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM);
    SSL_CTX_set_alpn_protos(context.get(), reinterpret_cast<const unsigned char*>("\x02h2"), 3);
    SslPtr ssl(SSL_new(context.get()));
    SSL_set_fd(ssl.get(), socket.get());
    EXPECT_EQ(SSL_connect(ssl.get()), 1);
    return ssl;
  }

  const TestFolder directory_;
};

TEST_F(GuardTlsTest, BytesOfRecordsOfAnySizeGoThrough) {
  const OwnedDescriptor client = Connect(guard_->port());
  const SslPtr ssl = Handshake(client);
  const OwnedDescriptor server = Next();
  std::string sent = Preface() + MakeFrame(kData, 300'000);
  for (size_t at = 0, size = 1; at < sent.size(); size = size * 5 % 20'000 + 1) {
    const int written = SSL_write(ssl.get(), sent.data() + at, static_cast<int>(std::min(size, sent.size() - at)));
    ASSERT_GT(written, 0);
    at += static_cast<size_t>(written);
    if (at > 100'000 && at < 130'000) {
      ASSERT_EQ(SSL_key_update(ssl.get(), SSL_KEY_UPDATE_REQUESTED), 1);
    }
  }
  EXPECT_EQ(Receive(server.get(), sent.size()), sent);
  EXPECT_EQ(guard_->peers().Find(absl::StrCat("fd:", server.get()))->uris, std::vector<std::string>{"spiffe://demo/site/berlin"});
}

TEST_F(GuardTlsTest, MessagesOfTlsItselfWithoutEndEndTheConnection) {
  const OwnedDescriptor client = Connect(guard_->port());
  const SslPtr ssl = Handshake(client);
  const OwnedDescriptor server = Next();
  for (int i = 0; i < 100'000 && SSL_key_update(ssl.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1; ++i) {
    if (SSL_do_handshake(ssl.get()) != 1) {
      break;
    }
  }
  EXPECT_TRUE(Ends(server.get()));
  AwaitRefusals("frames");
}

TEST_F(GuardTlsTest, OneCertificateHasSoManyConnections) {
  std::vector<OwnedDescriptor> clients;
  std::vector<SslPtr> sessions;
  std::vector<OwnedDescriptor> servers;
  for (size_t i = 0; i < Guard::Options().connections_of_identity; ++i) {
    clients.push_back(Connect(guard_->port()));
    sessions.push_back(Handshake(clients.back()));
    servers.push_back(Next());
  }
  const OwnedDescriptor more = Connect(guard_->port());
  const SslPtr session = Handshake(more);
  AwaitRefusals("crowded");
  char byte = 0;
  EXPECT_LE(SSL_read(session.get(), &byte, 1), 0);
  EXPECT_TRUE(IsOpen(servers.front().get()));
}

TEST_F(GuardTlsTest, OneMoreConnectionOfACertificateTakesThePlaceOfTheOldestThatYields) {
  yields_ = [](const Peer& peer) { return peer.connection != 1; };
  std::vector<OwnedDescriptor> clients;
  std::vector<SslPtr> sessions;
  std::vector<OwnedDescriptor> servers;
  for (size_t i = 0; i < Guard::Options().connections_of_identity + 1; ++i) {
    clients.push_back(Connect(guard_->port()));
    sessions.push_back(Handshake(clients.back()));
    servers.push_back(Next());
  }
  char byte = 0;
  EXPECT_LE(SSL_read(sessions[1].get(), &byte, 1), 0);
  EXPECT_TRUE(Ends(servers[1].get()));
  AwaitRefusals("crowded");
  EXPECT_TRUE(IsOpen(servers.front().get())) << "it does not yield";
  EXPECT_TRUE(IsOpen(servers.back().get()));
}

TEST_F(GuardTlsTest, WhoWasCutOffForAFloodOfResetsBeginsTheNextConnectionWhereItWas) {
  // The second would be let through, were it the first.
  for (const int resets : {2000, 1000}) {
    const OwnedDescriptor client = Connect(guard_->port());
    const SslPtr session = Handshake(client);
    const OwnedDescriptor server = Next();
    std::string flood = Preface();
    for (int i = 0; i < resets; ++i) {
      flood += MakeFrame(kHeaders, 20, kEndHeaders) + MakeFrame(kReset, 4);
    }
    SSL_write(session.get(), flood.data(), static_cast<int>(flood.size()));
    EXPECT_LT(Receive(server.get(), flood.size()).size(), flood.size()) << resets;
  }
  AwaitRefusals("frames", 2);
}

TEST_F(GuardTlsTest, HandshakesThatNeverEndTakeNobodysPlace) {
  std::vector<OwnedDescriptor> idle;
  for (size_t i = 0; i < Door::kHandshakesOfAddress + 3; ++i) {
    idle.push_back(Connect(guard_->port()));
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Ends(idle[i].get())) << "the oldest go first";
  }
  AwaitRefusals("handshake", 3);
  EXPECT_TRUE(IsOpen(idle[3].get()));
  EXPECT_TRUE(IsOpen(idle.back().get()));
}

}  // namespace
}  // namespace tributary::coordinator
