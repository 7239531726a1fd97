#include "worker/session_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "common/checksum.h"
#include "common/exit_codes.h"
#include "tests/worker/test_hub.h"

namespace tributary::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

[[maybe_unused]] const bool tls13_only = (RequireTls13(), true);

v1::WorkerMessage Hello(const std::string& version) {
  v1::WorkerMessage message;
  message.mutable_hello()->set_software_version(version);
  return message;
}

v1::CoordinatorMessage Welcome(const std::string& version) {
  v1::CoordinatorMessage message;
  message.mutable_welcome()->set_software_version(version);
  return message;
}

// Answers every Hello with a Welcome of the same version until the client ends.
grpc::Status Echo(grpc::ServerContext&, TestHub::Stream& stream) {
  v1::WorkerMessage message;
  while (stream.Read(&message)) stream.Write(Welcome(message.hello().software_version()));
  return grpc::Status::OK;
}

grpc::Status WaitForEnd(grpc::ServerContext&, TestHub::Stream& stream) {
  v1::WorkerMessage message;
  while (stream.Read(&message)) {
  }
  return grpc::Status::OK;
}

// A client with its executor; what it reports can be waited for.
class Client {
 public:
  explicit Client(const std::string& address, std::optional<TlsFiles> tls = std::nullopt, absl::Duration progress_timeout = kPatience,
                  uint64_t rate = 0)
      : executor_("test"),
        client_({.coordinator = address,
                 .tls = std::move(tls),
                 .identity = {"demo", Role::kSite, "berlin"},
                 .progress_timeout = progress_timeout,
                 .frame_bytes = 1000,
                 .up_rate = rate,
                 .down_rate = rate,
                 .finish_timeout = absl::Milliseconds(300)},
                &executor_,
                {.message =
                     [this](uint64_t, v1::CoordinatorMessage message) {
                       const std::lock_guard<std::mutex> lock(mutex_);
                       messages_.push_back(message.welcome().software_version());
                       changed_.notify_all();
                     },
                 .closed = [this](uint64_t, absl::Status status) { closed.Set(std::move(status)); },
                 .downloaded = [this](uint64_t, absl::StatusOr<std::string> bytes) { downloaded.Set(std::move(bytes)); },
                 .uploaded = [this](uint64_t, absl::Status status) { uploaded.Set(std::move(status)); },
                 .moved =
                     [this](ByteDirection direction, ByteKind kind, uint64_t bytes) {
                       const std::lock_guard<std::mutex> lock(mutex_);
                       moved_[{direction, kind}] += bytes;
                     }}) {}
  ~Client() { Shutdown(); }

  void Shutdown() {
    client_.Shutdown();
    executor_.Stop();
  }
  void Post(std::function<void(SessionClient&)> work) {
    executor_.Post([this, work = std::move(work)] { work(client_); });
  }
  std::vector<std::string> WaitForMessages(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, absl::ToChronoNanoseconds(kPatience), [this, count] { return messages_.size() >= count; }));
    return messages_;
  }
  uint64_t moved(ByteDirection direction, ByteKind kind) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return moved_[{direction, kind}];
  }

  Awaited<absl::Status> closed;
  Awaited<absl::StatusOr<std::string>> downloaded;
  Awaited<absl::Status> uploaded;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> messages_;
  std::map<std::pair<ByteDirection, ByteKind>, uint64_t> moved_;
  SerialExecutor executor_;
  SessionClient client_;
};

// --- Sessions ---

TEST(SessionClientTest, MessagesTravelInOrderBothWaysOverTls) {
  const TestPki pki;
  const TestHub hub({.open = Echo}, &pki);
  Client client(hub.address(), pki.Files("site-berlin"));
  client.Post([](SessionClient& session) {
    session.OpenSession(1);
    for (const char* version : {"a", "b", "c"}) session.Send(1, Hello(version));
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
  EXPECT_THAT(std::string(status.message()), HasSubstr("tls.ca"));
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
  EXPECT_THAT(std::string(status.message()), HasSubstr("host name"));
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
  EXPECT_THAT(std::string(status.message()), HasSubstr("it may not trust the CA of this site's certificate"));
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
    while (stream.Read(&message)) ++count;
    received.Set(count);
    return grpc::Status::OK;
  }});
  Client client(hub.address());
  Awaited<bool> finished;
  client.Post([&finished](SessionClient& session) {
    session.OpenSession(1);
    for (int i = 0; i < 10; ++i) session.Send(1, Hello("x"));
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

// --- Uploads ---

std::string Noise(size_t size) {
  std::string bytes(size, '\0');
  uint32_t state = 1;
  for (char& byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

v1::UploadHeader HeaderFor(const std::string& payload) {
  v1::UploadHeader header;
  header.mutable_id()->set_run_id("run-1");
  header.mutable_id()->set_round(7);
  header.mutable_id()->set_sha256(DigestBytes(Sha256(payload)));
  header.set_total_bytes(payload.size());
  return header;
}

// What the hub has of one upload: keeps frames over calls, and breaks the first call after `break_after` frames.
struct UploadStore {
  grpc::Status Receive(TestHub::Frames& frames, v1::UploadProgress& progress) {
    v1::UploadFrame frame;
    bool first = true;
    int count = 0;
    ++calls;
    while (frames.Read(&frame)) {
      EXPECT_EQ(frame.has_header(), first);
      if (first) total = frame.header().total_bytes();
      first = false;
      EXPECT_EQ(frame.crc32c(), Crc32c(frame.data()));
      EXPECT_EQ(frame.offset(), bytes.size());
      if (frame.offset() != bytes.size()) return {grpc::StatusCode::OUT_OF_RANGE, "offset"};
      bytes += frame.data();
      if (++count == break_after && calls == 1) return {grpc::StatusCode::UNAVAILABLE, "cable cut"};
    }
    progress.set_received_bytes(bytes.size());
    progress.set_complete(bytes.size() == total);
    return grpc::Status::OK;
  }
  TestHub::Handlers Handlers() {
    return {
        .open = WaitForEnd,
        .progress =
            [this](const v1::UploadId&, v1::UploadProgress& progress) {
              progress.set_received_bytes(bytes.size());
              progress.set_complete(total != 0 && bytes.size() == total);
              return grpc::Status::OK;
            },
        .upload = [this](TestHub::Frames& frames, v1::UploadProgress& progress) { return Receive(frames, progress); },
    };
  }

  int break_after = -1;
  std::string bytes;
  uint64_t total = 0;
  int calls = 0;
};

TEST(UploadTest, ThePayloadArrivesInFramesWithChecksums) {
  UploadStore store;
  const std::string payload = Noise(10'500);
  {
    const TestPki pki;
    const TestHub hub(store.Handlers(), &pki);
    Client client(hub.address(), pki.Files("site-berlin"));
    client.Post([&payload](SessionClient& session) {
      session.OpenSession(1);
      session.Upload(2, HeaderFor(payload), std::make_shared<const std::string>(payload));
    });
    EXPECT_EQ(client.uploaded.Wait(), absl::OkStatus());
    client.Shutdown();
    EXPECT_GT(client.moved(ByteDirection::kUp, ByteKind::kUpdate), payload.size());
  }
  EXPECT_EQ(store.bytes, payload);
}

TEST(UploadTest, ABrokenUploadGoesOnWhereItStood) {
  UploadStore store;
  store.break_after = 4;
  const std::string payload = Noise(10'500);
  {
    const TestHub hub(store.Handlers());
    for (const absl::StatusCode expected : {absl::StatusCode::kUnavailable, absl::StatusCode::kOk, absl::StatusCode::kOk}) {
      Client client(hub.address());
      client.Post([&payload](SessionClient& session) {
        session.OpenSession(1);
        session.Upload(2, HeaderFor(payload), std::make_shared<const std::string>(payload));
      });
      EXPECT_EQ(client.uploaded.Wait().code(), expected);
    }
  }
  EXPECT_EQ(store.bytes, payload);
  EXPECT_EQ(store.calls, 2) << "what is complete is not sent again";
}

TEST(UploadTest, AnUploadKeepsToTheRateAndItsPausesAreNoStall) {
  UploadStore store;
  const std::string payload = Noise(10'500);
  {
    const TestHub hub(store.Handlers());
    Client client(hub.address(), std::nullopt, /*progress_timeout=*/absl::Milliseconds(1500), /*rate=*/4000);
    const absl::Time start = Clock::Real().Now();
    client.Post([&payload](SessionClient& session) {
      session.OpenSession(1);
      session.Upload(2, HeaderFor(payload), std::make_shared<const std::string>(payload));
    });
    EXPECT_EQ(client.uploaded.Wait(), absl::OkStatus());
    // All but the last frame, of a quarter of a second, have been paid for.
    EXPECT_GE(Clock::Real().Now() - start, absl::Seconds(9'500 / 4000.0));
  }
  EXPECT_EQ(store.bytes, payload);
}

TEST(UploadTest, ACancelledUploadDoesNotWaitForItsTurn) {
  UploadStore store;
  const TestHub hub(store.Handlers());
  Client client(hub.address(), std::nullopt, kPatience, /*rate=*/1);
  client.Post([](SessionClient& session) {
    session.OpenSession(1);
    v1::WorkerMessage long_one;
    long_one.mutable_update()->set_payload(Noise(100'000));  // more than a day's worth
    session.Send(1, std::move(long_one));
    session.Upload(2, HeaderFor("payload"), std::make_shared<const std::string>("payload"));
  });
  client.Shutdown();
  EXPECT_EQ(store.bytes, "");
}

TEST(SessionClientTest, HeartbeatsOvertakeAnUpdateThatWaitsForItsTurn) {
  const TestHub hub({.open = Echo});
  Client client(hub.address(), std::nullopt, kPatience, /*rate=*/1000);
  client.Post([](SessionClient& session) {
    session.OpenSession(1);
    for (const size_t size : {1'000'000, 1}) {
      v1::WorkerMessage update;
      update.mutable_update()->set_payload(Noise(size));
      session.Send(1, std::move(update));
    }
    session.Send(1, Hello("beat"));
  });
  // Echo answers each message: the long update went at once, the short one will wait for a quarter of an hour.
  EXPECT_THAT(client.WaitForMessages(2), ElementsAre("", "beat"));
}

TEST(UploadTest, TheReasonOfARefusalArrives) {
  const TestHub hub({
      .open = WaitForEnd,
      .progress = [](const v1::UploadId&, v1::UploadProgress&) { return grpc::Status::OK; },
      .upload = [](TestHub::Frames&,
                   v1::UploadProgress&) { return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "round 7 is closed"); },
  });
  Client client(hub.address());
  client.Post([](SessionClient& session) {
    session.OpenSession(1);
    session.Upload(2, HeaderFor("payload"), std::make_shared<const std::string>("payload"));
  });
  EXPECT_EQ(client.uploaded.Wait(), absl::FailedPreconditionError("round 7 is closed"));
}

// --- Downloads ---

// Serves `content` from the offset asked for, in frames of 1000 bytes; `change` may spoil a frame.
grpc::Status Serve(const std::string& content, const v1::DownloadRequest& request, TestHub::Download& frames,
                   const std::function<void(v1::DownloadFrame&)>& change = nullptr) {
  for (uint64_t offset = request.offset(); offset < content.size();) {
    v1::DownloadFrame frame;
    frame.set_total_bytes(content.size());
    frame.set_offset(offset);
    frame.set_data(content.substr(offset, 1000));
    frame.set_crc32c(Crc32c(frame.data()));
    offset += frame.data().size();
    if (offset == content.size()) frame.set_sha256(DigestBytes(Sha256(content)));
    if (change) change(frame);
    if (!frames.Write(frame)) break;
  }
  return grpc::Status::OK;
}

v1::DownloadRequest Snapshot(uint64_t round) {
  v1::DownloadRequest request;
  request.set_run_id("run-1");
  request.set_snapshot_round(round);
  return request;
}

// The outcome of one download whose frames `change` may spoil.
absl::StatusOr<std::string> Fetch(const std::string& content, const std::function<void(v1::DownloadFrame&)>& change,
                                  uint64_t max_bytes = 1 << 20) {
  const TestHub hub({.open = WaitForEnd, .download = [&](const v1::DownloadRequest& request, TestHub::Download& frames) {
                       return Serve(content, request, frames, change);
                     }});
  Client client(hub.address());
  client.Post([max_bytes](SessionClient& session) {
    session.OpenSession(1);
    session.Download(2, Snapshot(3), max_bytes);
  });
  return client.downloaded.Wait();
}

TEST(DownloadTest, TheWholeArrives) {
  const std::string content = Noise(10'500);
  const absl::StatusOr<std::string> bytes = Fetch(content, nullptr);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, content);
}

TEST(DownloadTest, ADownloadKeepsToTheRate) {
  const std::string content = Noise(10'500);
  const TestHub hub({.open = WaitForEnd, .download = [&content](const v1::DownloadRequest& request, TestHub::Download& frames) {
                       return Serve(content, request, frames);
                     }});
  Client client(hub.address(), std::nullopt, /*progress_timeout=*/absl::Milliseconds(1500), /*rate=*/4000);
  const absl::Time start = Clock::Real().Now();
  client.Post([](SessionClient& session) {
    session.OpenSession(1);
    session.Download(2, Snapshot(3), 1 << 20);
  });
  const absl::StatusOr<std::string> bytes = client.downloaded.Wait();
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, content);
  EXPECT_GE(Clock::Real().Now() - start, absl::Seconds(10'500 / 4000.0));
}

TEST(DownloadTest, WhatFailsItsChecksIsRefused) {
  const std::string content = Noise(10'500);
  const std::pair<const char*, std::function<void(v1::DownloadFrame&)>> cases[] = {
      {"a frame's bytes", [](v1::DownloadFrame& frame) { (*frame.mutable_data())[0] ^= 1; }},
      {"a frame's place", [](v1::DownloadFrame& frame) { frame.set_offset(frame.offset() + 1); }},
      {"the total changes", [](v1::DownloadFrame& frame) { frame.set_total_bytes(frame.total_bytes() + frame.offset()); }},
      {"more than the total", [](v1::DownloadFrame& frame) { frame.set_total_bytes(10); }},
      {"the digest",
       [](v1::DownloadFrame& frame) {
         if (!frame.sha256().empty()) (*frame.mutable_sha256())[0] ^= 1;
       }},
  };
  for (const auto& [name, change] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(Fetch(content, change).status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST(DownloadTest, MoreThanTheModelCanNeedIsRefusedAtTheFirstFrame) {
  EXPECT_EQ(Fetch(Noise(10'500), nullptr, 10'499).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(DownloadTest, ABrokenDownloadGoesOnWhereItStoodAlsoOverANewSession) {
  const std::string content = Noise(10'500);
  std::atomic<int> calls = 0;
  std::atomic<uint64_t> resumed_at = 0;
  const TestHub hub({.open = WaitForEnd, .download = [&](const v1::DownloadRequest& request, TestHub::Download& frames) {
                       if (++calls == 1) {
                         v1::DownloadRequest all = request;
                         Serve(content.substr(0, 3000), all, frames, [&](v1::DownloadFrame& frame) {
                           frame.set_total_bytes(content.size());
                           frame.clear_sha256();
                         });
                         return grpc::Status(grpc::StatusCode::UNAVAILABLE, "cable cut");
                       }
                       resumed_at = request.offset();
                       return Serve(content, request, frames);
                     }});
  Client client(hub.address());
  client.Post([](SessionClient& session) {
    session.OpenSession(1);
    session.Download(2, Snapshot(3), 1 << 20);
  });
  EXPECT_EQ(client.downloaded.Wait().status().code(), absl::StatusCode::kUnavailable);
  client.downloaded.Reset();
  client.Post([](SessionClient& session) {
    session.OpenSession(3);
    session.Download(4, Snapshot(3), 1 << 20);
  });
  const absl::StatusOr<std::string> bytes = client.downloaded.Wait();
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, content);
  EXPECT_EQ(resumed_at, 3000u);
}

TEST(DownloadTest, ATransferThatStandsStillIsGivenUp) {
  Awaited<bool> release;
  const TestHub hub({.open = WaitForEnd, .download = [&release](const v1::DownloadRequest&, TestHub::Download&) {
                       release.Wait();
                       return grpc::Status::OK;
                     }});
  Client client(hub.address(), std::nullopt, absl::Milliseconds(50));
  client.Post([](SessionClient& session) {
    session.OpenSession(1);
    session.Download(2, Snapshot(3), 1000);
  });
  EXPECT_EQ(client.downloaded.Wait().status().code(), absl::StatusCode::kDeadlineExceeded);
  release.Set(true);
}

}  // namespace
}  // namespace tributary::worker
