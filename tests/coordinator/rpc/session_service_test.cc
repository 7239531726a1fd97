#include <atomic>
#include <memory>
#include <string>

#include "common/checksum.h"
#include "common/wire_size.h"
#include "common/worker_secret.h"
#include "proto/audit/signed_update.h"
#include "tests/common/unchecked_certificates.h"
#include "tests/coordinator/rpc/rpc_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

class SessionServiceTest : public RpcTest {
 protected:
  // One session as a worker sees it.
  struct Worker {
    explicit Worker(const std::shared_ptr<grpc::Channel>& channel) : stub(v1::SessionService::NewStub(channel)) {
      Bound(context);
      stream = stub->Open(&context);
    }
    bool Say(const std::string& version) {
      v1::WorkerMessage message;
      message.mutable_hello()->set_software_version(version);
      return stream->Write(message);
    }
    // Reads to the end.
    grpc::Status End() {
      v1::CoordinatorMessage message;
      while (stream->Read(&message)) {
        ++messages_read;
      }
      return stream->Finish();
    }

    std::unique_ptr<v1::SessionService::Stub> stub;
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReaderWriter<v1::WorkerMessage, v1::CoordinatorMessage>> stream;
    int messages_read = 0;
  };

  std::unique_ptr<Worker> Connect(const std::string& stem, int sessions = 1) {
    auto worker = std::make_unique<Worker>(ChannelAs(stem));
    EXPECT_TRUE(coordinator_.Await([=](const RecordingCoordinator& recorded) { return recorded.opened >= sessions; }));
    return worker;
  }
  bool AwaitClosed(int sessions = 1) {
    return coordinator_.Await([=](const RecordingCoordinator& recorded) { return recorded.closed >= sessions; });
  }
};

TEST_F(SessionServiceTest, CarriesMessagesBothWaysUnderTheNameInTheCertificate) {
  StartServer();
  const auto worker = Connect("site-berlin");
  ASSERT_TRUE(worker->Say("1.2.3"));
  ASSERT_TRUE(coordinator_.Await([](const RecordingCoordinator& recorded) { return recorded.messages.size() == 1; }));
  coordinator_.With([](RecordingCoordinator& recorded) {
    EXPECT_EQ(recorded.messages[0].first, "berlin");
    EXPECT_EQ(recorded.messages[0].second.hello().software_version(), "1.2.3");
    return 0;
  });
  Broadcast(std::make_shared<v1::CoordinatorMessage>(MakeCommitMessage(100)));
  v1::CoordinatorMessage received;
  ASSERT_TRUE(worker->stream->Read(&received));
  EXPECT_EQ(received.commit().record().size(), 100U);
}

TEST_F(SessionServiceTest, ChecksTheSignatureOfAnUpdateByTheCertificateOfItsSession) {
  StartServer();
  const auto worker = Connect("site-berlin");
  v1::WorkerMessage message;
  v1::Update& update = *message.mutable_update();
  update.set_run_id("run");
  update.set_round(3);
  update.set_base_state_hash("base");
  update.set_payload("payload");
  ASSERT_TRUE(worker->stream->Write(message));
  const UpdateClaim claim = {.federation = "test",
                             .site = "berlin",
                             .run_id = "run",
                             .round = 3,
                             .base_state_hash = "base",
                             .payload_sha256 = DigestBytes(Sha256("payload")),
                             .sequence = 9};
  for (const std::string stem : {"site-berlin", "site-paris"}) {
    ASSERT_TRUE(SignUpdate(claim, ReadUnchecked(FilesFor(stem)), *update.mutable_signature()).ok());
    ASSERT_TRUE(worker->stream->Write(message));
  }
  ASSERT_TRUE(coordinator_.Await([](const RecordingCoordinator& recorded) { return recorded.messages.size() == 3; }));
  coordinator_.With([](RecordingCoordinator& recorded) {
    EXPECT_EQ(recorded.proofs[0].standing, UpdateProof::Standing::kUnsigned);
    EXPECT_EQ(recorded.proofs[1].standing, UpdateProof::Standing::kGood);
    EXPECT_EQ(recorded.proofs[1].sequence, 9u);
    EXPECT_EQ(recorded.proofs[1].certificates->size(), 2u) << "the site's and the CA's";
    EXPECT_EQ(recorded.proofs[2].standing, UpdateProof::Standing::kBad) << "signed by another site";
    return 0;
  });
}

TEST_F(SessionServiceTest, SaysWhereASessionComesFromAndWhatSecretItBrings) {
  StartServer();
  const std::pair<std::string, std::string> cases[] = {{std::string(32, 'a'), std::string(32, 'a')}, {"no secret", ""}};
  for (const auto& [presented, taken] : cases) {
    grpc::ClientContext context;
    Bound(context);
    context.AddMetadata(kWorkerSecretKey, presented);
    const auto stub = v1::SessionService::NewStub(ChannelAs("site-berlin"));
    const auto stream = stub->Open(&context);
    const size_t opened = presented == taken ? 1 : 2;
    ASSERT_TRUE(coordinator_.Await([=](const RecordingCoordinator& recorded) { return recorded.origins.size() == opened; }));
    const SessionOrigin origin = coordinator_.With([](RecordingCoordinator& recorded) { return recorded.origins.back(); });
    EXPECT_EQ(origin.worker_secret, taken);
    EXPECT_THAT(origin.address, HasSubstr("127.0.0.1:"));
  }
}

TEST_F(SessionServiceTest, ClosesASessionThatSendsMoreThanAnyWorkerDoes) {
  std::atomic<int> told = 0;
  options_.sessions.messages = {.per_second = 0.001, .burst = 3};
  options_.sessions.over_rate = [&told](const std::string& site) { told += site == "berlin" ? 1 : 0; };
  StartServer();
  const auto worker = Connect("site-berlin");
  for (int i = 0; i < 10 && worker->Say("1.2.3"); ++i) {
  }
  EXPECT_EQ(worker->End().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  ASSERT_TRUE(AwaitClosed());
  EXPECT_EQ(told, 1);
  EXPECT_EQ(coordinator_.With([](RecordingCoordinator& recorded) { return recorded.messages.size(); }), 3u);
}

TEST_F(SessionServiceTest, CountsTheWireSizeOfWhatItMoves) {
  StartServer();
  const auto worker = Connect("site-berlin");
  v1::WorkerMessage hello;
  hello.mutable_hello()->set_software_version("1.2.3");
  ASSERT_TRUE(worker->stream->Write(hello));
  const auto message = std::make_shared<v1::CoordinatorMessage>(MakeCommitMessage(1000));
  Broadcast(message);
  v1::CoordinatorMessage received;
  ASSERT_TRUE(worker->stream->Read(&received));
  ASSERT_TRUE(coordinator_.Await([](const RecordingCoordinator& recorded) { return recorded.messages.size() == 1; }));
  coordinator_.With([&](RecordingCoordinator& recorded) {
    EXPECT_EQ((recorded.bytes[{"berlin", ByteDirection::kUp, ByteKind::kControl}]), WireSize(hello.ByteSizeLong()));
    EXPECT_EQ((recorded.bytes[{"berlin", ByteDirection::kDown, ByteKind::kCommit}]), WireSize(message->ByteSizeLong()));
    return 0;
  });
}

TEST_F(SessionServiceTest, RefusesASiteThatIsNotInTheRegistry) {
  StartServer();
  Worker worker(ChannelAs("site-mallory"));
  const grpc::Status status = worker.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("mallory"));
  EXPECT_THAT(status.error_message(), HasSubstr("coordinator.yaml"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("tributary_calls_refused_total{reason=\"list\"} 1\n"));
  EXPECT_EQ(coordinator_.With([](RecordingCoordinator& recorded) { return recorded.opened; }), 0);
}

TEST_F(SessionServiceTest, RefusesAnOperatorWhoCallsAsASite) {
  StartServer();
  Worker worker(ChannelAs("operator-alice"));
  EXPECT_EQ(worker.End().error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(metrics_.Text(), HasSubstr("tributary_calls_refused_total{reason=\"role\"} 1\n"));
}

TEST_F(SessionServiceTest, SpeaksToNobodyWithoutTls) {
  StartServer();
  Worker worker(grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()), MakeInsecureChannelCredentials()));
  EXPECT_EQ(worker.End().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(SessionServiceTest, BelievesNoMetadataAboutWhoCalls) {
  StartServer();
  const auto stub = v1::SessionService::NewStub(ChannelAs("site-mallory"));
  grpc::ClientContext context;
  Bound(context);
  context.AddMetadata(kInsecureIdentityKey, "spiffe://test/site/berlin");
  EXPECT_EQ(stub->Open(&context)->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(SessionServiceTest, BelievesMetadataWhenTheServerItselfRunsWithoutTls) {
  options_.certificates = nullptr;
  StartServer();
  const auto stub =
      v1::SessionService::NewStub(grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()), MakeInsecureChannelCredentials()));
  grpc::ClientContext context;
  Bound(context);
  context.AddMetadata(kInsecureIdentityKey, "spiffe://test/site/berlin");
  const auto stream = stub->Open(&context);
  EXPECT_TRUE(coordinator_.Await([](const RecordingCoordinator& recorded) { return recorded.sessions.contains("berlin"); }));
  context.TryCancel();
  stream->Finish();
}

TEST_F(SessionServiceTest, EndsAnOlderSessionWhenANewerOneReplacesIt) {
  StartServer();
  const auto older = Connect("site-berlin", 1);
  const auto newer = Connect("site-berlin", 2);
  EXPECT_EQ(older->End().error_code(), grpc::StatusCode::ABORTED);
  ASSERT_TRUE(AwaitClosed(1));
  EXPECT_TRUE(newer->Say("still here"));
  EXPECT_TRUE(coordinator_.Await([](const RecordingCoordinator& recorded) { return recorded.messages.size() == 1; }));
}

TEST_F(SessionServiceTest, DeliversWhatWasSentBeforeItCloses) {
  StartServer();
  const auto worker = Connect("site-berlin");
  OnExecutor([&] {
    SessionSink* const session = coordinator_.With([](RecordingCoordinator& recorded) { return recorded.sessions["berlin"]; });
    const auto message = std::make_shared<v1::CoordinatorMessage>(MakeCommitMessage(100000));
    for (int i = 0; i < 20; ++i) {
      session->Send(message);
    }
    session->Close(absl::FailedPreconditionError("protocol version 7"));
    session->Send(message);
  });
  const grpc::Status status = worker->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "protocol version 7");
  EXPECT_EQ(worker->messages_read, 20);
  EXPECT_TRUE(AwaitClosed());
}

TEST_F(SessionServiceTest, ClosesFromWithinTheHandlingOfAMessage) {
  StartServer();
  coordinator_.With([](RecordingCoordinator& recorded) {
    recorded.on_message = [](SessionSink* session, const v1::WorkerMessage&) { session->Close(absl::FailedPreconditionError("no")); };
    return 0;
  });
  const auto worker = Connect("site-berlin");
  worker->Say("x");
  EXPECT_EQ(worker->End().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(AwaitClosed());
}

TEST_F(SessionServiceTest, EndsQuietlyWhenTheWorkerLeaves) {
  StartServer();
  const auto worker = Connect("site-berlin");
  worker->stream->WritesDone();
  EXPECT_TRUE(worker->End().ok());
  EXPECT_TRUE(AwaitClosed());
}

TEST_F(SessionServiceTest, NoticesABrokenConnection) {
  StartServer();
  const auto worker = Connect("site-berlin");
  worker->context.TryCancel();
  EXPECT_TRUE(AwaitClosed());
  worker->stream->Finish();
}

TEST_F(SessionServiceTest, ClosesASlowReaderWithTheReasonAndKeepsServingOthers) {
  options_.sessions.max_queued_bytes = 1 << 20;
  options_.sessions.close_grace = kPatience;
  StartServer();
  const auto slow = Connect("site-berlin", 1);
  const auto quick = Connect("site-paris", 2);
  const auto message = std::make_shared<v1::CoordinatorMessage>(MakeCommitMessage(256 << 10));
  int sent = 0;
  while (coordinator_.With([](RecordingCoordinator& recorded) { return recorded.sessions.contains("berlin"); })) {
    ASSERT_LT(++sent, 10000);
    Broadcast(message);
    v1::CoordinatorMessage received;
    ASSERT_TRUE(quick->stream->Read(&received));
  }
  const grpc::Status status = slow->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("too slowly"));
}

TEST_F(SessionServiceTest, DoesNotWaitForASlowReaderForEver) {
  options_.sessions.max_queued_bytes = 1 << 20;
  options_.sessions.close_grace = absl::Milliseconds(1);
  StartServer();
  const auto slow = Connect("site-berlin");
  const auto message = std::make_shared<v1::CoordinatorMessage>(MakeCommitMessage(256 << 10));
  int sent = 0;
  while (coordinator_.With([](RecordingCoordinator& recorded) { return recorded.sessions.contains("berlin"); })) {
    ASSERT_LT(++sent, 10000);
    Broadcast(message);
  }
  EXPECT_FALSE(slow->End().ok());
}

TEST_F(SessionServiceTest, RefusesAMessageOverFourMebibytes) {
  StartServer();
  const auto worker = Connect("site-berlin");
  v1::WorkerMessage message;
  message.mutable_update()->set_payload(std::string(5 << 20, 'x'));
  worker->stream->Write(message);
  EXPECT_EQ(worker->End().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(AwaitClosed());
  EXPECT_TRUE(coordinator_.With([](RecordingCoordinator& recorded) { return recorded.messages.empty(); }));
}

TEST_F(SessionServiceTest, RefusesACompressedMessageWithoutInflatingIt) {
  StartServer();
  for (const grpc_compression_algorithm algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    const auto stub = v1::SessionService::NewStub(ChannelAs("site-berlin"));
    grpc::ClientContext context;
    Bound(context);
    context.set_compression_algorithm(algorithm);
    const auto stream = stub->Open(&context);
    v1::WorkerMessage message;
    message.mutable_update()->set_payload(std::string(1 << 20, 'x'));
    stream->Write(message);
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
  }
  EXPECT_TRUE(coordinator_.With([](RecordingCoordinator& recorded) { return recorded.messages.empty(); }));
}

TEST_F(SessionServiceTest, TellsSessionsToComeBackWhenItShutsDown) {
  StartServer();
  const auto berlin = Connect("site-berlin", 1);
  const auto paris = Connect("site-paris", 2);
  server_->RefuseNewSessions();
  Worker late(ChannelAs("site-berlin"));
  EXPECT_EQ(late.End().error_code(), grpc::StatusCode::UNAVAILABLE);
  server_->Shutdown(kPatience);
  const grpc::Status status = berlin->End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("reconnect"));
  EXPECT_EQ(paris->End().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(coordinator_.With([](RecordingCoordinator& recorded) { return recorded.closed; }), 2);
}

}  // namespace
}  // namespace tributary::coordinator
