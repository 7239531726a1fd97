#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/coordinator/rpc/rpc_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

class AdminServiceTest : public RpcTest {
 protected:
  void SetUp() override {
    RpcTest::SetUp();
    StartServer();
    stub_ = v1::AdminService::NewStub(ChannelAs("operator-alice"));
  }

  void SetRun(v1::RunState state, uint64_t round) {
    OnExecutor([&] {
      std::function<void(const std::string&)> observer = coordinator_.With([&](RecordingCoordinator& recorded) {
        v1::RunStatus& status = recorded.runs["bible-1"];
        status.set_run_id("bible-1");
        status.set_state(state);
        status.set_round(round);
        return recorded.run_observer;
      });
      observer("bible-1");
    });
  }

  std::unique_ptr<v1::AdminService::Stub> stub_;
};

// However long the state of a large model takes to be made and written.
TEST_F(AdminServiceTest, ASubmissionInPreparationKeepsNobodyElseWaiting) {
  std::promise<void> written;
  coordinator_.With([&](RecordingCoordinator& recorded) {
    recorded.prepare = [done = std::make_shared<std::future<void>>(written.get_future())] {
      done->wait_for(absl::ToChronoNanoseconds(kPatience));
      return absl::OkStatus();
    };
  });
  std::thread operator_of_a_large_run([&] {
    grpc::ClientContext context;
    Bound(context);
    v1::SubmitRunRequest request;
    request.mutable_spec()->set_name("large");
    v1::RunStatus status;
    EXPECT_TRUE(stub_->SubmitRun(&context, request, &status).ok());
  });
  {
    grpc::ClientContext context;
    Bound(context);
    v1::ListRunsResponse response;
    EXPECT_TRUE(stub_->ListRuns(&context, {}, &response).ok());
    EXPECT_EQ(response.runs_size(), 0);
  }
  written.set_value();
  operator_of_a_large_run.join();
}

TEST_F(AdminServiceTest, AnswersAnOperator) {
  {
    grpc::ClientContext context;
    Bound(context);
    v1::SubmitRunRequest request;
    request.mutable_spec()->set_name("bible");
    v1::RunStatus status;
    ASSERT_TRUE(stub_->SubmitRun(&context, request, &status).ok());
    EXPECT_EQ(status.run_id(), "bible-1");
    EXPECT_EQ(status.reason(), "submitted by alice") << "the certificate says who";
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::ListRunsResponse response;
    ASSERT_TRUE(stub_->ListRuns(&context, {}, &response).ok());
    EXPECT_EQ(response.runs_size(), 1);
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::GetRunRequest request;
    request.set_run("bible");
    v1::RunHistory history;
    ASSERT_TRUE(stub_->GetRunHistory(&context, request, &history).ok());
    EXPECT_EQ(history.rounds_size(), 1);
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::ServerInfo info;
    ASSERT_TRUE(stub_->GetServerInfo(&context, {}, &info).ok());
    EXPECT_EQ(info.protocol_version(), 1U);
  }
}

TEST_F(AdminServiceTest, AnAuditorLooksAndChangesNothing) {
  SetRun(v1::RUNNING, 1);
  const auto ann = v1::AdminService::NewStub(ChannelAs("auditor-ann"));
  {
    grpc::ClientContext context;
    Bound(context);
    v1::ListRunsResponse response;
    EXPECT_TRUE(ann->ListRuns(&context, {}, &response).ok());
    EXPECT_EQ(response.runs_size(), 1);
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::ServerInfo info;
    EXPECT_TRUE(ann->GetServerInfo(&context, {}, &info).ok());
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::SubmitRunRequest request;
    request.mutable_spec()->set_name("hers");
    v1::RunStatus status;
    const grpc::Status refused = ann->SubmitRun(&context, request, &status);
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::PERMISSION_DENIED);
    EXPECT_THAT(refused.error_message(), HasSubstr("needs a certificate of an operator"));
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::StopRunRequest request;
    request.set_run("bible");
    v1::RunStatus status;
    EXPECT_EQ(ann->StopRun(&context, request, &status).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  }
  EXPECT_EQ(coordinator_.With([](RecordingCoordinator& recorded) { return recorded.runs.size(); }), 1u);
}

TEST_F(AdminServiceTest, AnAuditorDownloadsNoModel) {
  const auto transfers = v1::TransferService::NewStub(ChannelAs("auditor-ann"));
  grpc::ClientContext context;
  Bound(context);
  const auto reader = transfers->Download(&context, {});
  v1::DownloadFrame frame;
  EXPECT_FALSE(reader->Read(&frame));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(AdminServiceTest, LogsWhatAnOperatorAskedForAndWhetherItWasDone) {
  testing::internal::CaptureStderr();
  v1::RunStatus status;
  {
    grpc::ClientContext context;
    Bound(context);
    v1::SubmitRunRequest request;
    request.mutable_spec()->set_name("bible");
    EXPECT_TRUE(stub_->SubmitRun(&context, request, &status).ok());
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::SubmitRunRequest request;
    request.mutable_spec()->set_name("bad");
    EXPECT_FALSE(stub_->SubmitRun(&context, request, &status).ok());
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::PauseRunRequest request;
    request.set_run("toy");
    request.set_reason("maintenance");
    EXPECT_FALSE(stub_->PauseRun(&context, request, &status).ok());
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("admin: submit run bible: accepted, run bible-1 is submitted operator=alice request=-\n"));
  EXPECT_THAT(log, HasSubstr("admin: submit run bad: not done: INVALID_ARGUMENT: rounds: must be at least 1 operator=alice request=-\n"));
  EXPECT_THAT(log, HasSubstr("admin: pause run toy (maintenance): not done: FAILED_PRECONDITION: toy is queued; not paused by alice"));
  EXPECT_THAT(log, ::testing::Not(HasSubstr("run paused")));
}

TEST_F(AdminServiceTest, PassesTheCoordinatorsErrorsOn) {
  {
    grpc::ClientContext context;
    Bound(context);
    v1::SubmitRunRequest request;
    request.mutable_spec()->set_name("bad");
    v1::RunStatus status;
    const grpc::Status result = stub_->SubmitRun(&context, request, &status);
    EXPECT_EQ(result.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(result.error_message(), "rounds: must be at least 1");
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::GetRunRequest request;
    request.set_run("none");
    v1::RunStatus status;
    EXPECT_EQ(stub_->GetRun(&context, request, &status).error_code(), grpc::StatusCode::NOT_FOUND);
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::StopRunRequest request;
    request.set_reason("enough");
    v1::RunStatus status;
    const grpc::Status result = stub_->StopRun(&context, request, &status);
    EXPECT_EQ(result.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_THAT(result.error_message(), HasSubstr("not stopped by alice: enough"));
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::PauseRunRequest request;
    request.set_run("toy");
    request.set_reason("maintenance");
    v1::RunStatus status;
    const grpc::Status result = stub_->PauseRun(&context, request, &status);
    EXPECT_EQ(result.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_EQ(result.error_message(), "toy is queued; not paused by alice: maintenance");
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::ResumeRunRequest request;
    request.set_run("toy");
    v1::RunStatus status;
    EXPECT_EQ(stub_->ResumeRun(&context, request, &status).error_message(), "toy is running; not resumed by alice");
  }
  {
    grpc::ClientContext context;
    Bound(context);
    v1::ExtendRunRequest request;
    request.set_run("toy");
    request.set_rounds(9);
    v1::RunStatus status;
    EXPECT_EQ(stub_->ExtendRun(&context, request, &status).error_message(), "toy not extended to 9 by alice");
  }
}

TEST_F(AdminServiceTest, RefusesSitesAndOperatorsOutsideTheRegistry) {
  for (const char* const stem : {"site-berlin", "operator-eve"}) {
    const auto stub = v1::AdminService::NewStub(ChannelAs(stem));
    {
      grpc::ClientContext context;
      Bound(context);
      v1::ListRunsResponse response;
      EXPECT_EQ(stub->ListRuns(&context, {}, &response).error_code(), grpc::StatusCode::PERMISSION_DENIED) << stem;
    }
    {
      grpc::ClientContext context;
      Bound(context);
      v1::SubmitRunRequest request;
      v1::RunStatus status;
      EXPECT_EQ(stub->SubmitRun(&context, request, &status).error_code(), grpc::StatusCode::PERMISSION_DENIED) << stem;
    }
    {
      grpc::ClientContext context;
      Bound(context);
      EXPECT_EQ(stub->WatchRun(&context, {})->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED) << stem;
    }
  }
  EXPECT_TRUE(coordinator_.With([](RecordingCoordinator& recorded) { return recorded.runs.empty(); }));
}

TEST_F(AdminServiceTest, WatchesARunByNameUntilItEnds) {
  SetRun(v1::RUNNING, 1);
  grpc::ClientContext context;
  Bound(context);
  v1::GetRunRequest request;
  request.set_run("bible");
  const auto stream = stub_->WatchRun(&context, request);
  v1::RunStatus status;
  ASSERT_TRUE(stream->Read(&status));
  EXPECT_EQ(status.round(), 1U);
  SetRun(v1::RUNNING, 2);
  ASSERT_TRUE(stream->Read(&status));
  EXPECT_EQ(status.round(), 2U);
  SetRun(v1::FINISHED, 3);
  ASSERT_TRUE(stream->Read(&status));
  EXPECT_EQ(status.state(), v1::FINISHED);
  EXPECT_FALSE(stream->Read(&status));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(AdminServiceTest, SendsAWatcherOfAnEndedRunItsStatusOnce) {
  SetRun(v1::FAILED, 7);
  grpc::ClientContext context;
  Bound(context);
  v1::GetRunRequest request;
  request.set_run("bible-1");
  const auto stream = stub_->WatchRun(&context, request);
  v1::RunStatus status;
  ASSERT_TRUE(stream->Read(&status));
  EXPECT_FALSE(stream->Read(&status));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(AdminServiceTest, GivesASlowWatcherTheNewestStatusAndNotAllOfThem) {
  constexpr uint64_t kChanges = 50000;
  SetRun(v1::RUNNING, 0);
  grpc::ClientContext context;
  Bound(context);
  v1::GetRunRequest request;
  request.set_run("bible");
  const auto stream = stub_->WatchRun(&context, request);
  v1::RunStatus status;
  ASSERT_TRUE(stream->Read(&status));
  // One burst, in which no status can be written to the end.
  OnExecutor([&] {
    for (uint64_t round = 1; round <= kChanges; ++round) {
      coordinator_.With([&](RecordingCoordinator& recorded) {
        recorded.runs["bible-1"].set_round(round);
        return 0;
      });
      coordinator_.With([](RecordingCoordinator& recorded) { return recorded.run_observer; })("bible-1");
    }
  });
  SetRun(v1::FINISHED, kChanges);
  uint64_t read = 0;
  while (stream->Read(&status)) {
    ++read;
  }
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(status.state(), v1::FINISHED);
  EXPECT_EQ(status.round(), kChanges);
  EXPECT_LT(read, kChanges);
}

TEST_F(AdminServiceTest, SaysThatThereIsNoSuchRunToWatch) {
  grpc::ClientContext context;
  Bound(context);
  v1::GetRunRequest request;
  request.set_run("none");
  EXPECT_EQ(stub_->WatchRun(&context, request)->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(AdminServiceTest, EndsWatchersWhenItShutsDown) {
  SetRun(v1::RUNNING, 1);
  grpc::ClientContext context;
  Bound(context);
  v1::GetRunRequest request;
  request.set_run("bible");
  const auto stream = stub_->WatchRun(&context, request);
  v1::RunStatus status;
  ASSERT_TRUE(stream->Read(&status));
  server_->Shutdown(kPatience);
  EXPECT_FALSE(stream->Read(&status));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace tributary::coordinator
