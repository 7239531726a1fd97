// What a site's engineer asks of the coordinator, beside a worker that may be at work: blocking calls over a connection of their own.
#ifndef TRIBUTARY_WORKER_SESSION_CLIENT_MEMBER_H_
#define TRIBUTARY_WORKER_SESSION_CLIENT_MEMBER_H_

#include <cstdint>
#include <memory>
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
  // The newest snapshot of the run, its checksums verified. FailedPrecondition: it has more than `max_bytes`. DataLoss: a checksum.
  // Otherwise as ListOwnRuns.
  absl::StatusOr<std::string> NewestSnapshot(const std::string& run_id, uint64_t max_bytes);

 private:
  void Prepare(grpc::ClientContext& context) const;
  std::shared_ptr<grpc::Channel> Channel() const;

  const Connection connection_;
  const std::string worker_secret_;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_SESSION_CLIENT_MEMBER_H_
