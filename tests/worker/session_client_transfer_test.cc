// Uploads and downloads.
#include "worker/session_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/checksum.h"
#include "tests/worker/session_client_support.h"

namespace tributary::worker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

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
      if (first) {
        total = frame.header().total_bytes();
      }
      first = false;
      EXPECT_EQ(frame.crc32c(), Crc32c(frame.data()));
      EXPECT_EQ(frame.offset(), bytes.size());
      if (frame.offset() != bytes.size()) {
        return {grpc::StatusCode::OUT_OF_RANGE, "offset"};
      }
      bytes += frame.data();
      if (++count == break_after && calls == 1) {
        return {grpc::StatusCode::UNAVAILABLE, "cable cut"};
      }
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
    for (const auto& [expected, arrived] :
         {std::pair(absl::StatusCode::kUnavailable, size_t{0}), std::pair(absl::StatusCode::kOk, size_t{4000}),
          std::pair(absl::StatusCode::kOk, payload.size())}) {
      Client client(hub.address());
      client.Post([&payload](SessionClient& session) {
        session.OpenSession(1);
        session.Upload(2, HeaderFor(payload), std::make_shared<const std::string>(payload));
      });
      EXPECT_EQ(client.uploaded.Wait().code(), expected);
      EXPECT_EQ(client.arrived, arrived) << "as the coordinator said when it was asked";
    }
  }
  EXPECT_EQ(store.bytes, payload);
  EXPECT_EQ(store.calls, 2) << "what is complete is not sent again";
}

// The time without progress that is a stall, and a wait that shows that a pause for the pace is none.
constexpr absl::Duration kStall = absl::Milliseconds(600);
constexpr absl::Duration kLongerThanAStall = absl::Seconds(1);

TEST(UploadTest, AnUploadKeepsToTheRateAndItsPausesAreNoStall) {
  UploadStore store;
  const std::string payload = Noise(1'500);
  {
    const TestHub hub(store.Handlers());
    SimulatedClock clock;
    Client client(hub.address(), std::nullopt, kStall, /*rate=*/4000, &clock);
    client.Post([&payload](SessionClient& session) {
      session.OpenSession(1);
      session.Upload(2, HeaderFor(payload), std::make_shared<const std::string>(payload));
    });
    EXPECT_FALSE(client.uploaded.WaitFor(kLongerThanAStall)) << "the first frame is not paid for while the clock stands still";
    clock.Advance(absl::Seconds(1));
    EXPECT_EQ(client.uploaded.Wait(), absl::OkStatus());
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
    if (offset == content.size()) {
      frame.set_sha256(DigestBytes(Sha256(content)));
    }
    if (change) {
      change(frame);
    }
    if (!frames.Write(frame)) {
      break;
    }
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
  const std::string content = Noise(2'500);
  const TestHub hub({.open = WaitForEnd, .download = [&content](const v1::DownloadRequest& request, TestHub::Download& frames) {
                       return Serve(content, request, frames);
                     }});
  SimulatedClock clock;
  Client client(hub.address(), std::nullopt, kStall, /*rate=*/4000, &clock);
  client.Post([](SessionClient& session) {
    session.OpenSession(1);
    session.Download(2, Snapshot(3), 1 << 20);
  });
  EXPECT_FALSE(client.downloaded.WaitFor(kLongerThanAStall)) << "the first frame is not paid for while the clock stands still";
  while (!client.downloaded.WaitFor(absl::Milliseconds(20))) {
    clock.Advance(absl::Milliseconds(250));
  }
  const absl::StatusOr<std::string> bytes = client.downloaded.Wait();
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, content);
}

TEST(DownloadTest, CommitsThatExceedTheCapDoNotShutOutADownload) {
  const std::string content = Noise(2'500);
  const TestHub hub(
      {.open =
           [](grpc::ServerContext& context, TestHub::Stream& stream) {
             v1::CoordinatorMessage commit;
             commit.mutable_commit()->set_record(Noise(800));
             // An hour's worth.
             for (int i = 0; i < 4500; ++i) {
               stream.Write(commit);
             }
             stream.Write(Welcome("all were sent"));
             return WaitForEnd(context, stream);
           },
       .download = [&content](const v1::DownloadRequest& request, TestHub::Download& frames) { return Serve(content, request, frames); }});
  SimulatedClock clock;
  Client client(hub.address(), std::nullopt, kPatience, /*rate=*/1000, &clock);
  client.Post([](SessionClient& session) { session.OpenSession(1); });
  client.WaitForMessages(4501);
  client.Post([](SessionClient& session) { session.Download(2, Snapshot(3), 1 << 20); });
  const absl::Time end = clock.Now() + absl::Minutes(30);
  while (clock.Now() < end && !client.downloaded.WaitFor(absl::Milliseconds(20))) {
    clock.Advance(absl::Seconds(1));
  }
  ASSERT_TRUE(client.downloaded.is_set()) << "it still waits for the commits to be paid for";
  const absl::StatusOr<std::string> bytes = client.downloaded.Wait();
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes, content);
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
         if (!frame.sha256().empty()) {
           (*frame.mutable_sha256())[0] ^= 1;
         }
       }},
  };
  for (const auto& [name, change] : cases) {
    SCOPED_TRACE(name);
    EXPECT_EQ(Fetch(content, change).status().code(), absl::StatusCode::kDataLoss);
  }
}

TEST(DownloadTest, MoreThanTheModelCanNeedIsRefusedAtTheFirstFrame) {
  EXPECT_EQ(Fetch(Noise(10'500), nullptr, 10'499).status().code(), absl::StatusCode::kFailedPrecondition);
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
  EXPECT_EQ(client.arrived, 3000u);
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
