// The guard with real sockets: bytes go through, and nobody has more than his due. TLS: tests/common/tls_test.cc.
#include "coordinator/guard/guard.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <condition_variable>
#include <deque>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "common/clock.h"
#include "common/pki.h"
#include "tests/common/test_folder.h"
#include "tests/common/unchecked_certificates.h"
#include "tests/coordinator/guard/frames.h"

namespace tributary::coordinator {
namespace {

constexpr int kPatienceMs = 20'000;

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
                    ->Admit(std::move(belonging),
                            [this](int descriptor) {
                              const std::lock_guard<std::mutex> lock(mutex_);
                              handed_over_.emplace_back(descriptor);
                              changed_.notify_all();
                            })
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

TEST_F(GuardTest, HandshakesThatNeverEndTakeNobodysPlace) {
  const TestFolder directory;
  ASSERT_TRUE(InitCa(directory.path(), "demo", absl::Hours(24)).ok());
  ASSERT_TRUE(IssueCertificate(directory.path(), {.identity = {"demo", Role::kCoordinator, ""}, .hosts = {"127.0.0.1"}}).ok());
  Guard::Options options;
  options.certificates = Unchecked({directory.File("ca.crt"), directory.File("coordinator.crt"), directory.File("coordinator.key")});
  Open(std::move(options));
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
