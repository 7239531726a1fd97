#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/file_store.h"
#include "common/wire_size.h"
#include "common/worker_secret.h"
#include "tests/common/test_folder.h"
#include "tests/coordinator/rpc/rpc_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

std::string RandomBytes(size_t size) {
  std::mt19937_64 random(size);
  std::string bytes(size, '\0');
  std::generate(bytes.begin(), bytes.end(), [&] { return static_cast<char>(random()); });
  return bytes;
}

class TransferServiceTest : public RpcTest {
 protected:
  using Writer = std::unique_ptr<grpc::ClientWriter<v1::UploadFrame>>;

  void Start() {
    StartServer();
    berlin_ = v1::TransferService::NewStub(ChannelAs("site-berlin"));
    paris_ = v1::TransferService::NewStub(ChannelAs("site-paris"));
  }

  // What is counted of berlin. A frame is counted on the coordinator's thread, by a task that is posted before the frame is answered or
  // sent: what the caller has seen is counted once the tasks posted so far have run.
  uint64_t Counted(ByteDirection direction, ByteKind kind) {
    absl::Notification caught_up;
    executor_.Post([&caught_up] { caught_up.Notify(); });
    EXPECT_TRUE(caught_up.WaitForNotificationWithTimeout(kPatience));
    return coordinator_.With([&](RecordingCoordinator& recorded) { return recorded.bytes[{"berlin", direction, kind}]; });
  }

  static v1::UploadHeader HeaderFor(const std::string& payload, uint64_t round = 1) {
    v1::UploadHeader header;
    header.mutable_id()->set_run_id("run");
    header.mutable_id()->set_round(round);
    header.mutable_id()->set_sha256(DigestBytes(Sha256(payload)));
    header.set_total_bytes(payload.size());
    header.mutable_report()->set_train_loss(2.5F);
    return header;
  }

  static v1::UploadFrame FrameAt(const std::string& payload, uint64_t offset, uint64_t length) {
    v1::UploadFrame frame;
    frame.set_offset(offset);
    frame.set_data(payload.substr(offset, length));
    frame.set_crc32c(Crc32c(frame.data()));
    return frame;
  }

  // An upload in progress.
  struct Uploading {
    grpc::ClientContext context;
    v1::UploadProgress response;
    Writer writer;
  };
  static std::unique_ptr<Uploading> Begin(v1::TransferService::Stub& stub) {
    auto upload = std::make_unique<Uploading>();
    Bound(upload->context);
    upload->writer = stub.Upload(&upload->context, &upload->response);
    return upload;
  }

  // Sends payload[from, to) in frames; the first carries the header.
  static bool SendFrames(Uploading& upload, const std::string& payload, uint64_t from, uint64_t to, uint64_t frame_bytes = 100000) {
    for (uint64_t offset = from; offset < to; offset += frame_bytes) {
      v1::UploadFrame frame = FrameAt(payload, offset, std::min(frame_bytes, to - offset));
      if (offset == from) {
        *frame.mutable_header() = HeaderFor(payload);
      }
      if (!upload.writer->Write(frame)) {
        return false;
      }
    }
    return true;
  }

  grpc::Status UploadAll(v1::TransferService::Stub& stub, const std::string& payload, uint64_t from = 0) {
    const auto upload = Begin(stub);
    SendFrames(*upload, payload, from, payload.size());
    upload->writer->WritesDone();
    const grpc::Status status = upload->writer->Finish();
    if (status.ok()) {
      EXPECT_TRUE(upload->response.complete());
      EXPECT_EQ(upload->response.received_bytes(), payload.size());
    }
    return status;
  }

  v1::UploadProgress Progress(v1::TransferService::Stub& stub, const std::string& payload) {
    grpc::ClientContext context;
    Bound(context);
    v1::UploadProgress progress;
    EXPECT_TRUE(stub.GetUploadProgress(&context, HeaderFor(payload).id(), &progress).ok());
    return progress;
  }

  std::vector<RecordingCoordinator::Upload> Uploads() {
    return coordinator_.With([](RecordingCoordinator& recorded) { return recorded.uploads; });
  }

  // Downloads from `offset`, checking every frame.
  struct Downloaded {
    grpc::Status status;
    std::string bytes;
    std::string sha256;
    int frames = 0;
  };
  static Downloaded Download(v1::TransferService::Stub& stub, v1::DownloadRequest request) {
    grpc::ClientContext context;
    Bound(context);
    request.set_run_id("run");
    const auto stream = stub.Download(&context, request);
    Downloaded downloaded;
    v1::DownloadFrame frame;
    while (stream->Read(&frame)) {
      EXPECT_EQ(frame.offset(), request.offset() + downloaded.bytes.size());
      EXPECT_LE(frame.data().size(), 1U << 20);
      EXPECT_EQ(frame.crc32c(), Crc32c(frame.data()));
      downloaded.bytes += frame.data();
      EXPECT_EQ(frame.sha256().empty(), request.offset() + downloaded.bytes.size() < frame.total_bytes());
      downloaded.sha256 = frame.sha256();
      ++downloaded.frames;
    }
    downloaded.status = stream->Finish();
    return downloaded;
  }
  void Offer(const std::string& bytes) {
    coordinator_.With([&](RecordingCoordinator& recorded) {
      recorded.download = InMemory(bytes);
      return 0;
    });
  }
  static v1::DownloadRequest Snapshot(uint64_t offset = 0) {
    v1::DownloadRequest request;
    request.set_snapshot_round(3);
    request.set_offset(offset);
    return request;
  }

  std::unique_ptr<v1::TransferService::Stub> berlin_;
  std::unique_ptr<v1::TransferService::Stub> paris_;
};

TEST_F(TransferServiceTest, HandsAWholeUploadToTheCoordinator) {
  Start();
  const std::string payload = RandomBytes(1234567);
  ASSERT_TRUE(UploadAll(*berlin_, payload).ok());
  ASSERT_EQ(Uploads().size(), 1U);
  EXPECT_EQ(Uploads()[0].site, "berlin");
  EXPECT_EQ(Uploads()[0].payload, payload);
  EXPECT_EQ(Uploads()[0].header.report().train_loss(), 2.5F);
  const uint64_t counted = Counted(ByteDirection::kUp, ByteKind::kUpdate);
  EXPECT_GT(counted, WireSize(payload.size()));
  EXPECT_LT(counted, WireSize(payload.size()) * 1.01);
}

TEST_F(TransferServiceTest, MovesNothingForAnotherWorkerThanTheOneThatHasTheSession) {
  Start();
  Offer("a model");
  const std::string secret(32, 'a');
  coordinator_.With([&](RecordingCoordinator& recorded) {
    recorded.only_worker = secret;
    return 0;
  });
  const auto move = [&](const std::string& presented) {
    const auto upload = std::make_unique<Uploading>();
    Bound(upload->context);
    upload->context.AddMetadata(kWorkerSecretKey, presented);
    upload->writer = berlin_->Upload(&upload->context, &upload->response);
    SendFrames(*upload, "an update", 0, 9);
    upload->writer->WritesDone();
    grpc::ClientContext context;
    Bound(context);
    context.AddMetadata(kWorkerSecretKey, presented);
    v1::DownloadRequest request = Snapshot();
    request.set_run_id("run");
    const auto download = berlin_->Download(&context, request);
    v1::DownloadFrame frame;
    while (download->Read(&frame)) {
    }
    return std::pair(upload->writer->Finish().error_code(), download->Finish().error_code());
  };
  EXPECT_EQ(move(std::string(32, 'b')), std::pair(grpc::StatusCode::ALREADY_EXISTS, grpc::StatusCode::ALREADY_EXISTS));
  EXPECT_TRUE(Uploads().empty());
  EXPECT_EQ(move(secret), std::pair(grpc::StatusCode::OK, grpc::StatusCode::OK));
  EXPECT_EQ(Uploads().size(), 1u);
}

TEST_F(TransferServiceTest, EndsAnUploadThatOnlyDrips) {
  options_.transfers.sweep_interval = absl::Milliseconds(5);
  options_.transfers.max_idle_sweeps = 20;
  options_.transfers.min_upload_rate = uint64_t{1} << 40;
  Start();
  const std::string payload = RandomBytes(50'000'000);
  const auto upload = Begin(*berlin_);
  EXPECT_FALSE(SendFrames(*upload, payload, 0, payload.size(), 1)) << "never idle, and never fast enough";
  const grpc::Status status = upload->writer->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr("too slow"));
  EXPECT_GT(Progress(*berlin_, payload).received_bytes(), 0u) << "what came stays, to be resumed";
}

TEST_F(TransferServiceTest, TakesAnUploadIntoItsFileAndHasItCheckedThere) {
  const TestFolder folder;
  const std::unique_ptr<FileStore> files = *OpenFolder(folder.path());
  coordinator_.With([&](RecordingCoordinator& recorded) {
    recorded.place_upload = [&files] {
      auto place = std::make_unique<UploadPlace>();
      place->file = "update";
      place->writer = *files->Create("update");
      place->measure = [&files]() -> absl::StatusOr<double> {
        return absl::InvalidArgumentError(absl::StrCat((*files->Open("update"))->size(), " bytes"));
      };
      return place;
    };
    return 0;
  });
  Start();
  const std::string payload = RandomBytes(900000);
  {
    const auto upload = Begin(*berlin_);
    ASSERT_TRUE(SendFrames(*upload, payload, 0, 500000));
    upload->writer->WritesDone();
    upload->writer->Finish();
  }
  EXPECT_FALSE(files->Exists("update"));
  ASSERT_TRUE(UploadAll(*berlin_, payload, 500000).ok());
  ASSERT_EQ(Uploads().size(), 1U);
  EXPECT_EQ(Uploads()[0].payload, "");
  EXPECT_EQ(Uploads()[0].file, "update");
  EXPECT_EQ(Uploads()[0].norm.status(), absl::InvalidArgumentError("900000 bytes"));
  EXPECT_EQ(*files->Read("update", 1 << 20), payload);
}

TEST_F(TransferServiceTest, ResumesAnUploadWhereABrokenStreamLeftIt) {
  Start();
  const std::string payload = RandomBytes(900000);
  {
    const auto upload = Begin(*berlin_);
    ASSERT_TRUE(SendFrames(*upload, payload, 0, 500000));
    upload->writer->WritesDone();
    EXPECT_EQ(upload->writer->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  EXPECT_TRUE(Uploads().empty());
  const v1::UploadProgress progress = Progress(*berlin_, payload);
  EXPECT_EQ(progress.received_bytes(), 500000U);
  EXPECT_FALSE(progress.complete());
  ASSERT_TRUE(UploadAll(*berlin_, payload, progress.received_bytes()).ok());
  ASSERT_EQ(Uploads().size(), 1U);
  EXPECT_EQ(Uploads()[0].payload, payload);
}

TEST_F(TransferServiceTest, ResumesAnUploadWhoseConnectionWasCancelled) {
  Start();
  const std::string payload = RandomBytes(900000);
  const auto upload = Begin(*berlin_);
  ASSERT_TRUE(SendFrames(*upload, payload, 0, 500000));
  while (Progress(*berlin_, payload).received_bytes() < 500000) {
  }
  upload->context.TryCancel();
  upload->writer->Finish();
  ASSERT_TRUE(UploadAll(*berlin_, payload, 500000).ok());
  EXPECT_EQ(Uploads()[0].payload, payload);
}

TEST_F(TransferServiceTest, KnowsNothingOfAnotherPayloadOrAnotherSite) {
  Start();
  const std::string payload = RandomBytes(900000);
  const auto upload = Begin(*berlin_);
  ASSERT_TRUE(SendFrames(*upload, payload, 0, 500000));
  upload->writer->WritesDone();
  upload->writer->Finish();
  EXPECT_EQ(Progress(*paris_, payload).received_bytes(), 0U);
  EXPECT_EQ(Progress(*berlin_, "another").received_bytes(), 0U);
}

TEST_F(TransferServiceTest, SaysThatACompletedUploadIsCompleteHoweverOftenItIsAsked) {
  Start();
  const std::string payload = RandomBytes(3000);
  ASSERT_TRUE(UploadAll(*berlin_, payload).ok());
  EXPECT_TRUE(Progress(*berlin_, payload).complete());
  EXPECT_TRUE(UploadAll(*berlin_, payload).ok());
  EXPECT_EQ(Uploads().size(), 1U);
}

TEST_F(TransferServiceTest, RefusesAFrameThatIsNotWhereTheUploadStands) {
  Start();
  const std::string payload = RandomBytes(500000);
  const grpc::Status status = UploadAll(*berlin_, payload, 100000);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_THAT(status.error_message(), HasSubstr("0 bytes have arrived"));
}

TEST_F(TransferServiceTest, RefusesACorruptedFrameAndKeepsTheOnesBefore) {
  Start();
  const std::string payload = RandomBytes(500000);
  const auto upload = Begin(*berlin_);
  ASSERT_TRUE(SendFrames(*upload, payload, 0, 200000));
  v1::UploadFrame frame = FrameAt(payload, 200000, 100000);
  (*frame.mutable_data())[77] ^= 1;
  upload->writer->Write(frame);
  upload->writer->WritesDone();
  EXPECT_EQ(upload->writer->Finish().error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_THAT(metrics_.Text(), HasSubstr("tributary_update_rejections_total{reason=\"checksum\"} 1\n"));
  EXPECT_EQ(Progress(*berlin_, payload).received_bytes(), 200000U);
  EXPECT_TRUE(UploadAll(*berlin_, payload, 200000).ok());
}

TEST_F(TransferServiceTest, RefusesAWholeThatIsNotWhatTheHeaderNames) {
  Start();
  const std::string payload = RandomBytes(1000);
  v1::UploadFrame frame = FrameAt(payload, 0, 1000);
  *frame.mutable_header() = HeaderFor(payload);
  frame.mutable_header()->mutable_id()->set_sha256(std::string(32, 'x'));
  const auto upload = Begin(*berlin_);
  upload->writer->Write(frame);
  EXPECT_EQ(upload->writer->Finish().error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_THAT(metrics_.Text(), HasSubstr("tributary_update_rejections_total{reason=\"checksum\"} 1\n"));
  EXPECT_TRUE(Uploads().empty());
}

TEST_F(TransferServiceTest, AsksTheCoordinatorBeforeItKeepsAnything) {
  Start();
  coordinator_.With([](RecordingCoordinator& recorded) {
    recorded.upload_check = absl::ResourceExhaustedError("longer than the model can need");
    return 0;
  });
  const std::string payload = RandomBytes(300000);
  const grpc::Status status = UploadAll(*berlin_, payload);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "longer than the model can need");
  EXPECT_EQ(Progress(*berlin_, payload).received_bytes(), 0U);
}

TEST_F(TransferServiceTest, PassesOnWhyTheCoordinatorDidNotTakeAnUpload) {
  Start();
  coordinator_.With([](RecordingCoordinator& recorded) {
    recorded.upload_result = absl::FailedPreconditionError("round 1 is closed");
    return 0;
  });
  const std::string payload = RandomBytes(3000);
  EXPECT_EQ(UploadAll(*berlin_, payload).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_FALSE(Progress(*berlin_, payload).complete());
}

TEST_F(TransferServiceTest, RefusesMalformedUploads) {
  Start();
  const std::string payload = RandomBytes(2 << 20);
  const auto refused = [&](const std::function<void(v1::UploadFrame&)>& change) {
    v1::UploadFrame frame = FrameAt(payload, 0, 1000);
    *frame.mutable_header() = HeaderFor(payload);
    change(frame);
    const auto upload = Begin(*berlin_);
    upload->writer->Write(frame);
    upload->writer->WritesDone();
    return upload->writer->Finish().error_code();
  };
  EXPECT_EQ(refused([](v1::UploadFrame& frame) { frame.clear_header(); }), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(refused([](v1::UploadFrame& frame) { frame.mutable_header()->set_total_bytes(0); }), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(refused([](v1::UploadFrame& frame) { frame.mutable_header()->mutable_id()->set_sha256("short"); }),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(refused([](v1::UploadFrame& frame) { frame.mutable_header()->set_total_bytes(999); }), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(refused([&](v1::UploadFrame& frame) {
              frame.set_data(payload.substr(0, (1 << 20) + 1));
              frame.set_crc32c(Crc32c(frame.data()));
            }),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(Uploads().empty());
}

TEST_F(TransferServiceTest, LetsANewerStreamOfTheSiteTakeOver) {
  Start();
  const std::string payload = RandomBytes(500000);
  const auto older = Begin(*berlin_);
  ASSERT_TRUE(SendFrames(*older, payload, 0, 200000));
  while (Progress(*berlin_, payload).received_bytes() < 200000) {
  }
  EXPECT_TRUE(UploadAll(*berlin_, payload, 200000).ok());
  EXPECT_EQ(older->writer->Finish().error_code(), grpc::StatusCode::ABORTED);
}

TEST_F(TransferServiceTest, HoldsAnUploadBackUntilThereIsRoomForIt) {
  options_.transfers.max_spool_bytes = 1000000;
  Start();
  const std::string first = RandomBytes(600000);
  const std::string second = RandomBytes(700000);
  const auto filling = Begin(*berlin_);
  ASSERT_TRUE(SendFrames(*filling, first, 0, 300000));
  while (Progress(*berlin_, first).received_bytes() < 300000) {
  }
  // The second waits: its header has arrived, and none of its data is kept.
  const auto waiting = Begin(*paris_);
  ASSERT_TRUE(SendFrames(*waiting, second, 0, 100000));
  ASSERT_TRUE(coordinator_.Await([](const RecordingCoordinator& recorded) {
    return recorded.bytes.contains({"paris", ByteDirection::kUp, ByteKind::kUpdate});
  }));
  EXPECT_EQ(Progress(*paris_, second).received_bytes(), 0U);
  // The first ends, and makes room.
  for (uint64_t offset = 300000; offset < first.size(); offset += 100000) {
    ASSERT_TRUE(filling->writer->Write(FrameAt(first, offset, 100000)));
  }
  EXPECT_TRUE(filling->writer->Finish().ok());
  for (uint64_t offset = 100000; offset < second.size(); offset += 100000) {
    ASSERT_TRUE(waiting->writer->Write(FrameAt(second, offset, 100000)));
  }
  EXPECT_TRUE(waiting->writer->Finish().ok());
  EXPECT_EQ(Uploads().size(), 2U);
}

TEST_F(TransferServiceTest, DropsAPartialUploadThatNobodyFillsWhenRoomIsNeeded) {
  options_.transfers.max_spool_bytes = 1000000;
  Start();
  const std::string left = RandomBytes(600000);
  const auto upload = Begin(*berlin_);
  ASSERT_TRUE(SendFrames(*upload, left, 0, 300000));
  upload->writer->WritesDone();
  upload->writer->Finish();
  EXPECT_TRUE(UploadAll(*paris_, RandomBytes(700000)).ok());
  EXPECT_EQ(Progress(*berlin_, left).received_bytes(), 0U);
}

TEST_F(TransferServiceTest, EndsAnUploadThatMakesNoProgressAndForgetsItInTheEnd) {
  options_.transfers.sweep_interval = absl::Milliseconds(20);
  options_.transfers.max_idle_sweeps = 5;
  Start();
  const std::string payload = RandomBytes(500000);
  const auto upload = Begin(*berlin_);
  SendFrames(*upload, payload, 0, 200000);
  EXPECT_EQ(upload->writer->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  while (Progress(*berlin_, payload).received_bytes() > 0) {
  }
}

TEST_F(TransferServiceTest, AnUploadThatWaitsForTheCoordinatorIsNotIdle) {
  options_.transfers.sweep_interval = absl::Milliseconds(20);
  options_.transfers.max_idle_sweeps = 20;
  Start();
  const std::string payload = RandomBytes(100000);
  const std::string other = RandomBytes(300000);
  const auto clock = Begin(*paris_);
  ASSERT_TRUE(SendFrames(*clock, other, 0, 100000));
  while (Progress(*paris_, other).received_bytes() == 0) {
  }
  const auto upload = Begin(*berlin_);
  ASSERT_TRUE(SendFrames(*upload, payload, 0, 50000));
  while (Progress(*berlin_, payload).received_bytes() == 0) {
  }
  absl::Notification release;
  executor_.Post([&release] { release.WaitForNotification(); });
  ASSERT_TRUE(upload->writer->Write(FrameAt(payload, 50000, 50000)));
  while (Progress(*berlin_, payload).received_bytes() > 0) {
  }
  // From here on both make no progress, but only one of them could.
  clock->writer->Write(FrameAt(other, 100000, 100000));
  EXPECT_EQ(clock->writer->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  release.Notify();
  EXPECT_TRUE(upload->writer->Finish().ok());
}

TEST_F(TransferServiceTest, RefusesUploadsOfOperatorsAndStrangers) {
  Start();
  for (const char* const stem : {"operator-alice", "site-mallory"}) {
    const auto stub = v1::TransferService::NewStub(ChannelAs(stem));
    EXPECT_EQ(UploadAll(*stub, "payload").error_code(), grpc::StatusCode::PERMISSION_DENIED) << stem;
    grpc::ClientContext context;
    Bound(context);
    v1::UploadProgress progress;
    EXPECT_EQ(stub->GetUploadProgress(&context, {}, &progress).error_code(), grpc::StatusCode::PERMISSION_DENIED) << stem;
  }
}

TEST_F(TransferServiceTest, DownloadsInFramesThatCarryTheirChecksums) {
  Start();
  const std::string bytes = RandomBytes(1000000);
  Offer(bytes);
  const Downloaded downloaded = Download(*berlin_, Snapshot());
  ASSERT_TRUE(downloaded.status.ok()) << downloaded.status.error_message();
  EXPECT_EQ(downloaded.bytes, bytes);
  EXPECT_EQ(downloaded.sha256, DigestBytes(Sha256(bytes)));
  EXPECT_EQ(downloaded.frames, 4);
  const uint64_t counted = Counted(ByteDirection::kDown, ByteKind::kSnapshot);
  EXPECT_GT(counted, WireSize(bytes.size()));
  EXPECT_LT(counted, WireSize(bytes.size()) * 1.01);
}

TEST_F(TransferServiceTest, ResumesADownloadAtAnyByte) {
  Start();
  const std::string bytes = RandomBytes(600000);
  Offer(bytes);
  for (const uint64_t offset : {uint64_t{1}, uint64_t{262144}, uint64_t{599999}, uint64_t{600000}}) {
    const Downloaded downloaded = Download(*berlin_, Snapshot(offset));
    ASSERT_TRUE(downloaded.status.ok());
    EXPECT_EQ(downloaded.bytes, bytes.substr(offset)) << offset;
    EXPECT_EQ(downloaded.sha256, DigestBytes(Sha256(bytes)));
  }
  EXPECT_EQ(Download(*berlin_, Snapshot(600001)).status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
}

TEST_F(TransferServiceTest, DownloadsNothingAsOneFrame) {
  Start();
  Offer("");
  const Downloaded downloaded = Download(*berlin_, Snapshot());
  EXPECT_TRUE(downloaded.status.ok());
  EXPECT_EQ(downloaded.frames, 1);
  EXPECT_EQ(downloaded.sha256, DigestBytes(Sha256("")));
}

TEST_F(TransferServiceTest, SaysWhatIsNotThereAndWhoMayNotHaveIt) {
  Start();
  EXPECT_EQ(Download(*berlin_, Snapshot()).status.error_code(), grpc::StatusCode::NOT_FOUND);
  Offer("state");
  v1::DownloadRequest request;
  request.set_state_at_round(5);
  EXPECT_EQ(Download(*berlin_, request).status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_TRUE(Download(*v1::TransferService::NewStub(ChannelAs("operator-alice")), request).status.ok());
  EXPECT_EQ(Download(*v1::TransferService::NewStub(ChannelAs("operator-eve")), request).status.error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(TransferServiceTest, BoundsTheDownloadsThatOneSiteHasOpen) {
  options_.transfers.max_downloads = 1;
  Start();
  Offer(RandomBytes(32 << 20));
  // Not read: it stays open.
  grpc::ClientContext context;
  Bound(context);
  v1::DownloadRequest request = Snapshot();
  request.set_run_id("run");
  const auto open = berlin_->Download(&context, request);
  v1::DownloadFrame frame;
  ASSERT_TRUE(open->Read(&frame));
  EXPECT_EQ(Download(*berlin_, Snapshot()).status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(Download(*paris_, Snapshot()).status.ok());
  context.TryCancel();
  open->Finish();
}

// Commits are read out of the journal on the thread that all rounds share.
TEST_F(TransferServiceTest, WhoseDownloadsTakeTheCoordinatorsTimeWaitsForItsNext) {
  SimulatedClock clock;
  options_.transfers.clock = &clock;
  Start();
  Offer("commits");
  coordinator_.With([&](RecordingCoordinator& recorded) { recorded.on_download = [&clock] { clock.Advance(absl::Hours(1)); }; });
  EXPECT_TRUE(Download(*berlin_, Snapshot()).status.ok());
  grpc::ClientContext context;
  Bound(context);
  v1::DownloadRequest request = Snapshot();
  request.set_run_id("run");
  const auto waiting = berlin_->Download(&context, request);
  EXPECT_TRUE(Download(*paris_, Snapshot()).status.ok());
  context.TryCancel();
  EXPECT_EQ(waiting->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(coordinator_.With([](RecordingCoordinator& recorded) { return recorded.downloads_asked; }), 2);
}

TEST_F(TransferServiceTest, EndsADownloadThatIsNotRead) {
  options_.transfers.sweep_interval = absl::Milliseconds(5);
  options_.transfers.max_idle_sweeps = 20;
  Start();
  Offer(RandomBytes(32 << 20));
  grpc::ClientContext context;
  Bound(context);
  v1::DownloadRequest request = Snapshot();
  request.set_run_id("run");
  const auto open = berlin_->Download(&context, request);
  // The server gives up, so that it can shut down; only then is the stream read to its end.
  server_->Shutdown(kPatience);
  v1::DownloadFrame frame;
  while (open->Read(&frame)) {
  }
  EXPECT_FALSE(open->Finish().ok());
}

}  // namespace
}  // namespace tributary::coordinator
