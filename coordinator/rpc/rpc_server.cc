#include "coordinator/rpc/rpc_server.h"

#include <future>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/listening.h"
#include "common/tls.h"
#include "proto/wire_limits.h"

namespace tributary::coordinator {
namespace {

// A worker has a session, an upload and a few downloads.
constexpr int kMaxStreamsPerConnection = 64;

void Configure(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // A compressed message is inflated before its size is checked, so a small one could take any amount of memory.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 16 << 10);
  // Two coordinators on one port would each get some of the workers.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Workers ping every 30 s to keep middleboxes awake; the server looks for dead peers as often.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 15'000);
}

}  // namespace

RpcServer::RpcServer(const v1::CoordinatorConfig& config, const Options& options, const SiteRegistry* sites, Coordinator* coordinator,
                     SerialExecutor* executor)
    : executor_(executor),
      authorisation_(config, sites, options.transport),
      sessions_(coordinator, executor, &authorisation_, options.sessions),
      transfers_(coordinator, executor, &authorisation_, options.transfers),
      admin_(coordinator, executor, &authorisation_, options.admin) {}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const v1::CoordinatorConfig& config, const Options& options,
                                                            const SiteRegistry* sites, Coordinator* coordinator, SerialExecutor* executor) {
  auto rpc = absl::WrapUnique(new RpcServer(config, options, sites, coordinator, executor));
  grpc::ServerBuilder builder;
  Configure(builder);
  rpc->credentials_ =
      options.transport == Transport::kPlaintext ? MakeInsecureServerCredentials() : MakeServerCredentials(options.certificates);
  builder.AddListeningPort(config.listen(), rpc->credentials_, &rpc->port_);
  builder.RegisterService(&rpc->sessions_);
  builder.RegisterService(&rpc->transfers_);
  builder.RegisterService(&rpc->admin_);
  rpc->RunOnExecutor([&] { rpc->admin_.Observe(); });
  rpc->server_ = builder.BuildAndStart();
  if (rpc->server_ == nullptr || rpc->port_ <= 0) {
    const absl::Status why = ExplainListenFailure(config.listen());
    return why.ok() ? WithExitCode(absl::InternalError(absl::StrCat("cannot listen on ", config.listen())), ExitCode::kInternal) : why;
  }
  return rpc;
}

RpcServer::~RpcServer() {
  Shutdown(absl::ZeroDuration());
}

void RpcServer::MembersChanged(std::set<std::string> operators) {
  authorisation_.SetOperators(std::move(operators));
  RunOnExecutor([this] { sessions_.CloseUnlisted(); });
}

void RpcServer::Shutdown(absl::Duration grace) {
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
