// What operators do to sites, as it reaches those sites.
#include <memory>
#include <string>

#include "coordinator/journal/open_journal.h"
#include "coordinator/site_registrar.h"
#include "tests/common/test_folder.h"
#include "tests/coordinator/rpc/rpc_support.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

class SiteActsTest : public RpcTest {
 protected:
  void SetUp() override {
    RpcTest::SetUp();
    journal_ = OpenSqliteJournal(folder_.File("journal.db"), nullptr).value();
    SiteRegistrar::Dependencies dependencies;
    dependencies.clock = &Clock::Real();
    dependencies.journal = journal_.get();
    dependencies.registry = &sites_;
    dependencies.changed = [this] { server_->SitesChanged(); };
    registrar_ = SiteRegistrar::Open(std::move(dependencies)).value();
    options_.admin.registrar = registrar_.get();
    StartServer();
    operator_ = v1::AdminService::NewStub(ChannelAs("operator-alice"));
  }

  grpc::Status Change(const std::string& site, v1::ChangeSiteRequest::Act act) {
    grpc::ClientContext context;
    Bound(context);
    v1::ChangeSiteRequest request;
    request.set_name(site);
    request.set_act(act);
    request.set_reason("a test");
    v1::Site changed;
    return operator_->ChangeSite(&context, request, &changed);
  }

  const TestFolder folder_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<SiteRegistrar> registrar_;
  std::unique_ptr<v1::AdminService::Stub> operator_;
};

TEST_F(SiteActsTest, ASuspendedSiteLosesItsSessionAndGetsNoOther) {
  const auto stub = v1::SessionService::NewStub(ChannelAs("site-berlin"));
  grpc::ClientContext context;
  Bound(context);
  const auto session = stub->Open(&context);
  ASSERT_TRUE(coordinator_.Await([](const RecordingCoordinator& recorded) { return recorded.opened == 1; }));
  ASSERT_TRUE(Change("berlin", v1::ChangeSiteRequest::SUSPEND).ok());
  v1::CoordinatorMessage message;
  EXPECT_FALSE(session->Read(&message));
  const grpc::Status ended = session->Finish();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(ended.error_message(), HasSubstr("is suspended by an operator"));

  const auto again = v1::SessionService::NewStub(ChannelAs("site-berlin"));
  grpc::ClientContext second;
  Bound(second);
  EXPECT_EQ(again->Open(&second)->Finish().error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(SiteActsTest, AnAddedSiteComesInWithoutARestart) {
  ASSERT_TRUE(Change("mallory", v1::ChangeSiteRequest::ADD).ok());
  const auto stub = v1::SessionService::NewStub(ChannelAs("site-mallory"));
  grpc::ClientContext context;
  Bound(context);
  const auto session = stub->Open(&context);
  EXPECT_TRUE(coordinator_.Await([](const RecordingCoordinator& recorded) { return recorded.opened == 1; }));
  context.TryCancel();
  EXPECT_EQ(session->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(SiteActsTest, AnAuditorSeesSitesAndChangesNone) {
  const auto ann = v1::AdminService::NewStub(ChannelAs("auditor-ann"));
  {
    grpc::ClientContext context;
    Bound(context);
    v1::ListSitesResponse sites;
    ASSERT_TRUE(ann->ListSites(&context, {}, &sites).ok());
    EXPECT_EQ(sites.sites_size(), 2);
  }
  grpc::ClientContext context;
  Bound(context);
  v1::ChangeSiteRequest request;
  request.set_name("berlin");
  request.set_act(v1::ChangeSiteRequest::REVOKE);
  v1::Site site;
  EXPECT_EQ(ann->ChangeSite(&context, request, &site).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_TRUE(sites_.Contains("berlin"));
}

}  // namespace
}  // namespace tributary::coordinator
