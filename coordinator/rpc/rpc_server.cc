#include "coordinator/rpc/rpc_server.h"

#include <grpcpp/server_posix.h>

#include <future>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "proto/wire_limits.h"

namespace tributary::coordinator {
namespace {

// A worker has a session, an upload and a few downloads.
constexpr int kMaxStreamsPerConnection = 64;
// After the last call: for what was said last to reach those who read.
constexpr absl::Duration kFarewell = absl::Seconds(1);

void Configure(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // A compressed message is inflated before its size is checked, so a small one could take any amount of memory.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  // Workers ping every 30 s to keep middleboxes awake; the server looks for dead peers as often.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 15'000);
}

}  // namespace

RpcServer::RpcServer(const v1::CoordinatorConfig& config, const Options& options, std::unique_ptr<Guard> guard, const SiteRegistry* sites,
                     Coordinator* coordinator, SerialExecutor* executor)
    : executor_(executor),
      guard_(std::move(guard)),
      authorisation_(config, sites, &guard_->peers(), options.authorities, options.metrics,
                     options.certificates == nullptr ? Transport::kPlaintext : Transport::kMutualTls),
      sessions_(coordinator, executor, &authorisation_, options.sessions),
      transfers_(coordinator, executor, &authorisation_, options.transfers),
      admin_(coordinator, executor, &authorisation_, options.admin),
      renewals_(options.admin.enrolment, executor, &authorisation_),
      members_(coordinator, executor, &authorisation_) {}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const v1::CoordinatorConfig& config, const Options& options,
                                                            const SiteRegistry* sites, Coordinator* coordinator, SerialExecutor* executor) {
  Guard::Options guard_options;
  guard_options.name = "listen";
  guard_options.certificates = options.certificates;
  guard_options.metrics = options.metrics;
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Guard> guard, Guard::Start(config.listen(), std::move(guard_options)));
  auto rpc = absl::WrapUnique(new RpcServer(config, options, std::move(guard), sites, coordinator, executor));
  grpc::ServerBuilder builder;
  Configure(builder);
  builder.RegisterService(&rpc->sessions_);
  builder.RegisterService(&rpc->transfers_);
  builder.RegisterService(&rpc->admin_);
  builder.RegisterService(&rpc->renewals_);
  builder.RegisterService(&rpc->members_);
  rpc->RunOnExecutor([&] { rpc->admin_.Observe(); });
  rpc->server_ = builder.BuildAndStart();
  if (rpc->server_ == nullptr) {
    return WithExitCode(absl::InternalError("gRPC cannot start a server"), ExitCode::kInternal);
  }
  Guard::Belongs belonging = nullptr;
  if (options.certificates != nullptr) {
    belonging = [authorisation = &rpc->authorisation_](const Peer& peer) {
      return authorisation->Belongs(peer).ok() ? Belonging::kMember : Belonging::kStranger;
    };
  }
  // A site's session stays, and an operator's downloads.
  const auto yields = [rpc = rpc.get()](const Peer& peer) {
    return rpc->authorisation_.IsSite(peer) && !rpc->sessions_.RunsOn(peer.connection);
  };
  TRIBUTARY_RETURN_IF_ERROR(rpc->guard_->Admit(
      std::move(belonging), [server = rpc->server_.get()](int descriptor) { grpc::AddInsecureChannelFromFd(server, descriptor); }, yields));
  return rpc;
}

RpcServer::~RpcServer() {
  Shutdown(absl::ZeroDuration());
}

void RpcServer::MembersChanged(Staff staff) {
  authorisation_.SetStaff(std::move(staff));
  RunOnExecutor([this] { SitesChanged(); });
}

void RpcServer::SitesChanged() {
  sessions_.CloseUnlisted();
  guard_->Review();
}

void RpcServer::Shutdown(absl::Duration grace) {
  guard_->StopAdmitting();
  sessions_.RefuseNew();
  RunOnExecutor([this] {
    const absl::Status status = absl::UnavailableError("the coordinator is shutting down; reconnect later");
    sessions_.CloseAll(status);
    admin_.CloseAll(status);
    admin_.StopObserving();
  });
  if (server_ != nullptr) {
    server_->Shutdown(absl::ToChronoTime(Clock::Real().WallNow() + grace));
    server_->Wait();
    server_.reset();
    guard_->AwaitEmpty(kFarewell);
  }
  // Every call is over; what its last reaction posted still refers to the services.
  RunOnExecutor([] {});
}

void RpcServer::RunOnExecutor(const std::function<void()>& work) {
  const auto done = std::make_shared<std::promise<void>>();
  executor_->Post([&work, done] {
    work();
    done->set_value();
  });
  done->get_future().wait();
}

}  // namespace tributary::coordinator
