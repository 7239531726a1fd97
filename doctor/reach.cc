#include "doctor/reach.h"

#include <grpcpp/grpcpp.h>

#include <string>

#include "absl/strings/numbers.h"
#include "common/request_id.h"
#include "common/tls.h"
#include "tributary/v1/transfer.grpc.pb.h"

namespace tributary::doctor {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(20);

absl::Time TimeOf(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto entry = metadata.find(kCoordinatorTimeKey);
  int64_t unix_ms = 0;
  if (entry == metadata.end() || !absl::SimpleAtoi(absl::string_view(entry->second.data(), entry->second.size()), &unix_ms)) {
    return absl::InfinitePast();
  }
  return absl::FromUnixMillis(unix_ms);
}

}  // namespace

absl::StatusOr<Reached> Reach(const Connection& connection, const Clock& clock, const OnInterrupt& on_interrupt) {
  const auto channel =
      MakeChannel(connection.address, connection.insecure ? MakeInsecureChannelCredentials() : MakeChannelCredentials(connection.tls),
                  connection.route, grpc::ChannelArguments());
  const auto stub = v1::TransferService::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(clock.WallNow() + kCallTimeout));
  context.AddMetadata(kRequestIdKey, NewRequestId());
  if (connection.insecure) {
    context.AddMetadata(kInsecureIdentityKey, SpiffeId(connection.identity));
  }
  const std::shared_ptr<void> cancel = on_interrupt == nullptr ? nullptr : on_interrupt([&context] { context.TryCancel(); });
  Reached reached;
  reached.before = clock.WallNow();
  const v1::DownloadRequest request;  // of no run: a coordinator that lets the caller in has nothing to send
  const auto reader = stub->Download(&context, request);
  v1::DownloadFrame frame;
  while (reader->Read(&frame)) {
    continue;
  }
  const absl::Status status = ExplainCallFailure(reader->Finish(), connection, kCallTimeout);
  reached.after = clock.WallNow();
  reached.theirs = TimeOf(context);
  // AlreadyExists: the site's worker is there, and what it may fetch is for it alone.
  const bool is_answer = status.ok() || absl::IsNotFound(status) || absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status) ||
                         absl::IsOutOfRange(status) || absl::IsAlreadyExists(status);
  return is_answer ? absl::StatusOr<Reached>(reached) : status;
}

}  // namespace tributary::doctor
