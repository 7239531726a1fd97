#include "worker/session_client_member.h"

#include <grpcpp/grpcpp.h>

#include <future>
#include <memory>
#include <utility>

#include "common/channel.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "common/worker_secret.h"
#include "proto/wire_limits.h"
#include "tributary/v1/member.grpc.pb.h"
#include "tributary/v1/transfer.grpc.pb.h"
#include "worker/session_client_transfer.h"

namespace tributary::worker {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(20);
// Of a download that moves nothing.
constexpr absl::Duration kProgressTimeout = absl::Seconds(60);
constexpr int kAttempts = 5;

// The codes are the same numbers by definition.
grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsCancelled(status) || absl::IsDeadlineExceeded(status);
}

}  // namespace

void MemberClient::Prepare(grpc::ClientContext& context) const {
  if (!worker_secret_.empty()) {
    context.AddMetadata(kWorkerSecretKey, worker_secret_);
  }
  if (connection_.insecure) {
    context.AddMetadata(kInsecureIdentityKey, SpiffeId(connection_.identity));
  }
}

std::shared_ptr<grpc::Channel> MemberClient::Channel() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  return MakeChannel(connection_.address, connection_.insecure ? MakeInsecureChannelCredentials() : MakeChannelCredentials(connection_.tls),
                     connection_.route, std::move(arguments));
}

absl::StatusOr<v1::ListOwnRunsResponse> MemberClient::ListOwnRuns(const std::string& run) {
  const auto stub = v1::MemberService::NewStub(Channel());
  grpc::ClientContext context;
  Prepare(context);
  context.set_deadline(absl::ToChronoTime(Clock::Real().WallNow() + kCallTimeout));
  v1::ListOwnRunsRequest request;
  request.set_run(run);
  v1::ListOwnRunsResponse response;
  TRIBUTARY_RETURN_IF_ERROR(ExplainCallFailure(stub->ListOwnRuns(&context, request, &response), connection_, kCallTimeout));
  return response;
}

absl::StatusOr<std::string> MemberClient::Snapshot(const std::string& run_id, std::optional<uint64_t> best_round, uint64_t max_bytes) {
  const auto stub = v1::TransferService::NewStub(Channel());
  const TransferContext context = {
      .stub = stub.get(), .prepare = [this](grpc::ClientContext& client) { Prepare(client); }, .moved = [](uint64_t) {}, .pace = nullptr};
  const auto begin = [&] {
    auto fresh = std::make_unique<PartialDownload>();
    fresh->request.set_run_id(run_id);
    if (best_round.has_value()) {
      fresh->request.set_state_at_round(*best_round);
    } else {
      fresh->request.set_newest_snapshot(true);
    }
    return fresh;
  };
  std::unique_ptr<PartialDownload> partial = begin();
  for (int failures = 0, restarts = 0;;) {
    const uint64_t before = partial->bytes.size();
    auto done = std::make_shared<std::promise<absl::Status>>();
    std::future<absl::Status> ended = done->get_future();
    DownloadCall call(context, std::move(partial), max_bytes, [done](absl::Status status) { done->set_value(std::move(status)); });
    call.Start();
    for (uint64_t seen = call.progress(); ended.wait_for(absl::ToChronoSeconds(kProgressTimeout)) != std::future_status::ready;
         seen = call.progress()) {
      if (call.progress() == seen) {
        call.Cancel();
      }
    }
    const absl::Status status = ended.get();
    partial = call.TakePartial();
    if (status.ok()) {
      return std::move(partial->bytes);
    }
    failures = partial->bytes.size() > before ? 0 : failures + 1;
    if (absl::IsDataLoss(status) && before > 0 && ++restarts < kAttempts) {
      // What was resumed is no more: a newer snapshot has taken its place.
      partial = begin();
      continue;
    }
    // Before the first byte an unreachable coordinator is the answer; later it is a line that broke.
    if (!IsTransient(status) || partial->bytes.empty() || failures == kAttempts) {
      return ExplainCallFailure(ToGrpc(status), connection_, kProgressTimeout);
    }
  }
}

}  // namespace tributary::worker
