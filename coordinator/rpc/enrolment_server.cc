#include "coordinator/rpc/enrolment_server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/csr.h"
#include "common/log.h"
#include "common/rare_line.h"
#include "common/status_macros.h"
#include "coordinator/guard/guard.h"
#include "coordinator/rpc/grpc_status.h"
#include "tributary/v1/enrolment.grpc.pb.h"

namespace tributary::coordinator {
namespace {

// Whoever only occupies a place must not keep a site out: one more takes the place of the oldest.
constexpr size_t kConnections = 64;
constexpr absl::Duration kLifetime = absl::Minutes(1);
constexpr int kMaxMessageBytes = static_cast<int>(kMaxCsrBytes) + 4096;
// Of all callers together.
constexpr double kCallsAtOnce = 50;
constexpr double kCallsPerSecond = 10;
constexpr absl::Duration kGrace = absl::Seconds(1);

class EnrolmentServerImpl final : public EnrolmentServer, public v1::EnrolmentService::CallbackService {
 public:
  EnrolmentServerImpl(std::unique_ptr<Guard> guard, Dependencies dependencies)
      : guard_(std::move(guard)), deps_(std::move(dependencies)), refilled_(Clock::Real().Now()) {}
  ~EnrolmentServerImpl() override {
    guard_->StopAdmitting();
    if (server_ != nullptr) {
      server_->Shutdown(absl::ToChronoTime(Clock::Real().WallNow() + kGrace));
      server_->Wait();
    }
  }

  absl::Status Serve() {
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
    builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
    builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 4);
    builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, 8 << 10);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) {
      return absl::InternalError("gRPC cannot start a server");
    }
    return guard_->Admit(nullptr, [server = server_.get()](int descriptor) { grpc::AddInsecureChannelFromFd(server, descriptor); });
  }

  grpc::ServerUnaryReactor* Enrol(grpc::CallbackServerContext* context, const v1::EnrolRequest* request,
                                  v1::EnrolResponse* response) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    if (const absl::Status refused = Refused(*request); !refused.ok()) {
      Tell(*context, refused);
      reactor->Finish(ToGrpcStatus(refused));
      return reactor;
    }
    // Request, response and context live until Finish.
    deps_.executor->Post([this, context, reactor, request, response] {
      absl::StatusOr<v1::EnrolResponse> answer = deps_.enrolment->Enrol(*request);
      if (answer.ok()) {
        *response = *std::move(answer);
      } else {
        Tell(*context, answer.status());
      }
      reactor->Finish(ToGrpcStatus(answer.status()));
    });
    return reactor;
  }

  int port() const override { return guard_->port(); }

 private:
  // What can be refused before the coordinator has any work with it.
  absl::Status Refused(const v1::EnrolRequest& request) {
    const absl::Time now = Clock::Real().Now();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      calls_left_ = std::min(kCallsAtOnce, calls_left_ + kCallsPerSecond * absl::ToDoubleSeconds(now - refilled_));
      refilled_ = now;
      if (calls_left_ < 1) {
        return absl::ResourceExhaustedError("too many calls; try again in a while");
      }
      calls_left_ -= 1;
    }
    if (request.secret().size() != kTokenSecretBytes || !deps_.sites->FindByToken(DigestBytes(Sha256(request.secret()))).has_value()) {
      return absl::PermissionDeniedError("the token is not known here: a newer one has replaced it, or it is of another federation");
    }
    return absl::OkStatus();
  }

  void Tell(const grpc::CallbackServerContext& context, const absl::Status& refused) {
    deps_.metrics->CountCallRefused(CallRefusal::kEnrolment);
    const std::optional<Peer> peer = guard_->peers().Find(context.peer());
    const std::string address = peer.has_value() ? peer->address.substr(0, peer->address.rfind(':')) : "somebody who is gone";
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const auto left_out = refusals_.Tell(absl::StrCat(address, refused.message()), Clock::Real().Now()); left_out.has_value()) {
      LogWarning("enrolment", "refused ", address, ": ", refused.message(), *left_out);
    }
  }

  const std::unique_ptr<Guard> guard_;
  const Dependencies deps_;
  std::mutex mutex_;
  double calls_left_ = kCallsAtOnce;  // under mutex_, as all below
  absl::Time refilled_;
  RareLine refusals_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EnrolmentServer>> EnrolmentServer::Start(const std::string& listen, Dependencies dependencies) {
  Guard::Options options;
  options.name = "enrol_listen";
  options.certificates = dependencies.certificates;
  options.proof = ClientProof::kNothing;
  options.connections = kConnections;
  options.connections_of_identity = SIZE_MAX;  // nobody has one
  options.full = Guard::Full::kCloseOldest;
  options.lifetime = kLifetime;
  options.metrics = dependencies.metrics;
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Guard> guard, Guard::Start(listen, std::move(options)));
  auto server = std::make_unique<EnrolmentServerImpl>(std::move(guard), std::move(dependencies));
  TRIBUTARY_RETURN_IF_ERROR(server->Serve());
  return server;
}

}  // namespace tributary::coordinator
