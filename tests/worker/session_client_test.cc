#include "worker/session_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "common/exit_codes.h"
#include "tests/worker/session_client_support.h"

namespace tributary::worker {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

[[maybe_unused]] const bool prepared = (RequireTls13(), signal(SIGPIPE, SIG_IGN), true);

TEST(SessionClientTest, MessagesTravelInOrderBothWaysOverTls) {
  const TestPki pki;
  const TestHub hub({.open = Echo}, &pki);
  Client client(hub.address(), pki.Files("site-berlin"));
  client.Post([](SessionClient& session) {
    session.OpenSession(1);
    for (const char* version : {"a", "b", "c"}) {
      session.Send(1, Hello(version));
    }
  });
  EXPECT_THAT(client.WaitForMessages(3), ElementsAre("a", "b", "c"));
}

TEST(SessionClientTest, ACoordinatorOfAnotherCaIsRefusedAndTheMessageSaysWhatToDo) {
  const TestPki pki, other;
  const TestHub hub({.open = Echo}, &pki);
  Client client(hub.address(), other.Files("site-berlin"));
  client.Post([](SessionClient& session) { session.OpenSession(1); });
  const absl::Status status = client.closed.Wait();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kCredentials) << status;
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("get the CA file"), HasSubstr("It presents 'CN=coordinator,O=demo'")));
}

TEST(SessionClientTest, AnExpiredCoordinatorIsRefused) {
  const TestPki pki;
  ASSERT_TRUE(
      IssueCertificate(
          pki.folder(),
          {.identity = {"demo", Role::kCoordinator, ""}, .hosts = {"127.0.0.1"}, .validity = -absl::Hours(1), .backdate = absl::Hours(24)})
          .ok());
  const TestHub hub({.open = Echo}, &pki);
  Client client(hub.address(), pki.Files("site-berlin"));
  client.Post([](SessionClient& session) { session.OpenSession(1); });
  const absl::Status status = client.closed.Wait();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kCredentials) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("expired"));
}

TEST(SessionClientTest, ACoordinatorUnderAnotherNameIsRefused) {
  const TestPki pki;
  ASSERT_TRUE(IssueCertificate(pki.folder(), {.identity = {"demo", Role::kCoordinator, ""}, .hosts = {"hub.example.org"}}).ok());
  const TestHub hub({.open = Echo}, &pki);
  Client client(hub.address(), pki.Files("site-berlin"));
  client.Post([](SessionClient& session) { session.OpenSession(1); });
  const absl::Status status = client.closed.Wait();
  EXPECT_EQ(ExitCodeOf(status), ExitCode::kCredentials) << status;
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("presented was 'CN=coordinator,O=demo' for URI:spiffe://demo/coordinator, DNS:hub.example.org"));
}

TEST(SessionClientTest, ACoordinatorWithoutTlsIsToldApart) {
  const TestPki pki;
  const TestHub hub({.open = Echo});
  Client client(hub.address(), pki.Files("site-berlin"));
  client.Post([](SessionClient& session) { session.OpenSession(1); });
  const absl::Status status = client.closed.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("does not speak TLS"));
}

TEST(SessionClientTest, ASiteOfAnotherCaIsToldThatItsCertificateIsRefused) {
  const TestPki pki, other;
  const TestHub hub({.open = Echo}, &pki);
  // It trusts the coordinator, who does not trust it.
  Client client(hub.address(),
                TlsFiles{pki.Files("site-berlin").ca, other.Files("site-berlin").certificate, other.Files("site-berlin").key});
  client.Post([](SessionClient& session) { session.OpenSession(1); });
  const absl::Status status = client.closed.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("may not trust the CA of the certificate used here"));
}

TEST(SessionClientTest, AnUnreachableCoordinatorIsReportedAsUnavailable) {
  std::string address;
  {
    const TestHub hub({.open = Echo});
    address = hub.address();
  }
  Client client(address);
  client.Post([](SessionClient& session) { session.OpenSession(1); });
  EXPECT_EQ(client.closed.Wait().code(), absl::StatusCode::kUnavailable);
}

TEST(SessionClientTest, TheCoordinatorsReasonForClosingArrives) {
  const TestHub hub({.open = [](grpc::ServerContext&, TestHub::Stream&) {
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "site berlin is not in the registry");
  }});
  Client client(hub.address());
  client.Post([](SessionClient& session) { session.OpenSession(1); });
  const absl::Status status = client.closed.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(status.message(), "site berlin is not in the registry");
}

TEST(SessionClientTest, InPlaintextTheIdentityIsClaimed) {
  Awaited<std::string> claimed;
  const TestHub hub({.open = [&claimed](grpc::ServerContext& context, TestHub::Stream&) {
    const auto& metadata = context.client_metadata();
    const auto found = metadata.find(kInsecureIdentityKey);
    claimed.Set(found == metadata.end() ? "" : std::string(found->second.data(), found->second.size()));
    return grpc::Status::OK;
  }});
  Client client(hub.address());
  client.Post([](SessionClient& session) { session.OpenSession(1); });
  EXPECT_EQ(claimed.Wait(), "spiffe://demo/site/berlin");
}

TEST(SessionClientTest, AClosedSessionIsNotReportedAndTheNextOneWorks) {
  const TestHub hub({.open = Echo});
  Client client(hub.address());
  client.Post([](SessionClient& session) {
    session.OpenSession(1);
    session.CloseSession(1);
    session.OpenSession(2);
    session.Send(1, Hello("old"));
    session.Send(2, Hello("new"));
  });
  EXPECT_THAT(client.WaitForMessages(1), ElementsAre("new"));
  EXPECT_FALSE(client.closed.is_set());
}

TEST(SessionClientTest, FinishingSendsWhatIsQueuedFirst) {
  Awaited<int> received;
  const TestHub hub({.open = [&received](grpc::ServerContext&, TestHub::Stream& stream) {
    v1::WorkerMessage message;
    int count = 0;
    while (stream.Read(&message)) {
      ++count;
    }
    received.Set(count);
    return grpc::Status::OK;
  }});
  Client client(hub.address());
  Awaited<bool> finished;
  client.Post([&finished](SessionClient& session) {
    session.OpenSession(1);
    for (int i = 0; i < 10; ++i) {
      session.Send(1, Hello("x"));
    }
    session.FinishSession([&finished] { finished.Set(true); });
  });
  EXPECT_TRUE(finished.Wait());
  EXPECT_EQ(received.Wait(), 10);
}

TEST(SessionClientTest, FinishingDoesNotWaitForEverForACoordinatorThatHangs) {
  Awaited<bool> release;
  const TestHub hub({.open = [&release](grpc::ServerContext&, TestHub::Stream&) {
    release.Wait();
    return grpc::Status::OK;
  }});
  Client client(hub.address());
  Awaited<bool> finished;
  client.Post([&finished](SessionClient& session) {
    session.OpenSession(1);
    session.FinishSession([&finished] { finished.Set(true); });
  });
  EXPECT_TRUE(finished.Wait());
  release.Set(true);
}

TEST(SessionClientTest, BytesOfMessagesAreCountedByDirectionAndKind) {
  const TestHub hub({.open = Echo});
  Client client(hub.address());
  const v1::WorkerMessage hello = Hello("1.2.3");
  client.Post([&hello](SessionClient& session) {
    session.OpenSession(1);
    session.Send(1, hello);
  });
  client.WaitForMessages(1);
  EXPECT_EQ(client.moved(ByteDirection::kUp, ByteKind::kControl), hello.ByteSizeLong());
  EXPECT_EQ(client.moved(ByteDirection::kDown, ByteKind::kControl), Welcome("1.2.3").ByteSizeLong());
}

TEST(SessionClientTest, ShutdownEndsWhateverIsUnderWay) {
  Awaited<bool> release;
  const TestHub hub({.open = WaitForEnd,
                     .progress =
                         [&release](const v1::UploadId&, v1::UploadProgress&) {
                           release.Wait();
                           return grpc::Status::OK;
                         },
                     .download =
                         [&release](const v1::DownloadRequest&, TestHub::Download&) {
                           release.Wait();
                           return grpc::Status::OK;
                         }});
  Client client(hub.address());
  client.Post([](SessionClient& session) {
    session.OpenSession(1);
    session.Upload(2, {}, std::make_shared<const std::string>("payload"));
    session.Download(3, {}, 1000);
  });
  client.Shutdown();
  EXPECT_FALSE(client.uploaded.is_set());
  EXPECT_FALSE(client.downloaded.is_set());
  release.Set(true);
}

}  // namespace
}  // namespace tributary::worker
