#include "coordinator/rpc/health_server.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>

#include <atomic>
#include <utility>

#include "common/clock.h"
#include "common/status_macros.h"
#include "coordinator/guard/guard.h"

namespace tributary::coordinator {
namespace {

// Anybody may connect, and whoever only occupies a place must not keep the probes out: one more takes the place of the oldest.
constexpr size_t kConnections = 64;
// A probe asks with a few bytes.
constexpr uint64_t kMessageBytes = 4 << 10;
constexpr absl::Duration kLifetime = absl::Minutes(1);
constexpr char kCheckMethod[] = "/grpc.health.v1.Health/Check";
// HealthCheckResponse{status = 1}: SERVING is 1, NOT_SERVING is 2.
constexpr char kServing[] = {0x08, 0x01};
constexpr char kNotServing[] = {0x08, 0x02};

class RefusedCall final : public grpc::ServerGenericBidiReactor {
 public:
  explicit RefusedCall(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

// Its reactions follow one another, so it needs neither an executor nor a lock.
class CheckCall final : public grpc::ServerGenericBidiReactor {
 public:
  explicit CheckCall(Health health) : health_(health) { StartRead(&request_); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no request"));
    } else if (request_.Length() > 0) {
      // A request that is not empty names a service.
      Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "only the server as a whole is known: leave the service name empty"));
    } else {
      const grpc::Slice slice(health_ == Health::kServing ? kServing : kNotServing, sizeof kServing);
      response_ = grpc::ByteBuffer(&slice, 1);
      StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
    }
  }
  void OnDone() override { delete this; }

 private:
  const Health health_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
};

class HealthServerImpl final : public HealthServer, public grpc::CallbackGenericService {
 public:
  explicit HealthServerImpl(std::unique_ptr<Guard> guard) : guard_(std::move(guard)) {}
  ~HealthServerImpl() override {
    guard_->StopAdmitting();
    if (server_ != nullptr) {
      server_->Shutdown(absl::ToChronoTime(Clock::Real().WallNow()));
    }
  }

  absl::Status Serve() {
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(kMessageBytes);
    builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
    builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 4);
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) {
      return absl::InternalError("gRPC cannot start a server");
    }
    return guard_->Admit(nullptr, [server = server_.get()](int descriptor) { grpc::AddInsecureChannelFromFd(server, descriptor); });
  }

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    if (context->method() != kCheckMethod) {
      return new RefusedCall(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "this address serves health checks only"));
    }
    return new CheckCall(health_);
  }

  void Set(Health health) override { health_ = health; }
  int port() const override { return guard_->port(); }

 private:
  std::atomic<Health> health_{Health::kNotServing};
  const std::unique_ptr<Guard> guard_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HealthServer>> HealthServer::Start(const std::string& listen) {
  Guard::Options options;
  options.name = "health_listen";
  options.connections = kConnections;
  options.full = Guard::Full::kCloseOldest;
  options.lifetime = kLifetime;
  options.message_bytes_of_identity = kMessageBytes;
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Guard> guard, Guard::Start(listen, std::move(options)));
  auto server = std::make_unique<HealthServerImpl>(std::move(guard));
  TRIBUTARY_RETURN_IF_ERROR(server->Serve());
  return server;
}

}  // namespace tributary::coordinator
