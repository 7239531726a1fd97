// What a site's engineer asks of the coordinator, beside a worker that may be at work: blocking calls over a connection of their own.
#ifndef TRIBUTARY_WORKER_SESSION_CLIENT_MEMBER_H_
#define TRIBUTARY_WORKER_SESSION_CLIENT_MEMBER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "common/channel.h"
#include "tributary/v1/member.pb.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace tributary::worker {

// Not thread-safe.
class MemberClient {
 public:
  // `worker_secret`: the worker's (common/worker_secret.h). While that has the site's session, nobody without it gets a download. Empty:
  // none.
  MemberClient(Connection connection, std::string worker_secret)
      : connection_(std::move(connection)), worker_secret_(std::move(worker_secret)) {}

  // The runs of this site, newest first; `run`: that one alone. Errors as of ExplainCallFailure.
  absl::StatusOr<v1::ListOwnRunsResponse> ListOwnRuns(const std::string& run);
  // A snapshot of the run, its checksums verified: of its best round, which is `best_round`, or the newest. FailedPrecondition: it has more
  // than `max_bytes`. NotFound: that round is pruned. DataLoss: a checksum. Otherwise as ListOwnRuns.
  absl::StatusOr<std::string> Snapshot(const std::string& run_id, std::optional<uint64_t> best_round, uint64_t max_bytes);

 private:
  void Prepare(grpc::ClientContext& context) const;
  std::shared_ptr<grpc::Channel> Channel() const;

  const Connection connection_;
  const std::string worker_secret_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SESSION_CLIENT_MEMBER_H_
