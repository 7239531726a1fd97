#include <memory>
#include <string>

#include "tests/coordinator/rpc/rpc_support.h"
#include "tributary/v1/member.grpc.pb.h"

namespace tributary::coordinator {
namespace {

class MemberServiceTest : public RpcTest {
 protected:
  void SetUp() override {
    RpcTest::SetUp();
    coordinator_.With([](RecordingCoordinator& recorded) {
      AddRun(recorded, "of-berlin", {"berlin"});
      AddRun(recorded, "of-paris", {"paris"});
      AddRun(recorded, "of-all", {});
      return 0;
    });
    StartServer();
  }
  static void AddRun(RecordingCoordinator& recorded, const std::string& name, const std::vector<std::string>& sites) {
    v1::RunStatus& run = recorded.runs[name + "-1"];
    run.set_run_id(name + "-1");
    run.mutable_spec()->set_name(name);
    *run.mutable_spec()->mutable_participation()->mutable_sites() = {sites.begin(), sites.end()};
    for (const char* const site : {"berlin", "rome", "refused"}) {
      v1::SiteStatus& status = *run.add_sites();
      status.set_site(site);
      status.set_updates_included(site == std::string("refused") ? 0 : 7);
      status.set_updates_late(2);
    }
  }
  grpc::Status List(const std::string& stem, const std::string& run, v1::ListOwnRunsResponse& response) {
    const auto stub = v1::MemberService::NewStub(ChannelAs(stem));
    grpc::ClientContext context;
    Bound(context);
    v1::ListOwnRunsRequest request;
    request.set_run(run);
    return stub->ListOwnRuns(&context, request, &response);
  }
};

TEST_F(MemberServiceTest, ASiteSeesTheRunsThatTakeItAndTheNamesOfTheirMembers) {
  v1::ListOwnRunsResponse own;
  ASSERT_TRUE(List("site-berlin", "", own).ok());
  ASSERT_EQ(own.runs_size(), 2);
  EXPECT_EQ(own.runs(0).run_id(), "of-all-1");
  EXPECT_THAT(own.runs(0).members(), ::testing::ElementsAre("berlin", "rome"));
  EXPECT_EQ(own.runs(1).run_id(), "of-berlin-1");
  EXPECT_EQ(own.runs(1).updates_included(), 7u);
  EXPECT_EQ(own.runs(1).updates_late(), 2u);
}

TEST_F(MemberServiceTest, ARunOfOthersIsNotThere) {
  v1::ListOwnRunsResponse own;
  ASSERT_TRUE(List("site-berlin", "of-paris", own).ok());
  EXPECT_EQ(own.runs_size(), 0);
  ASSERT_TRUE(List("site-berlin", "of-berlin", own).ok());
  EXPECT_EQ(own.runs_size(), 1);
}

TEST_F(MemberServiceTest, ItIsForSitesAloneAndNotAsOftenAsTheyLike) {
  v1::ListOwnRunsResponse own;
  EXPECT_EQ(List("operator-alice", "", own).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(List("site-mallory", "", own).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  grpc::Status status;
  for (int i = 0; i < 40 && status.ok(); ++i) {
    status = List("site-berlin", "", own);
  }
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(List("site-paris", "", own).ok()) << "that was another site";
}

}  // namespace
}  // namespace tributary::coordinator
