// Sessions: one stream per site, adapted to Coordinator::SessionOpened, MessageReceived, SessionClosed and to SessionSink.
#ifndef TRIBUTARY_COORDINATOR_RPC_SESSION_SERVICE_H_
#define TRIBUTARY_COORDINATOR_RPC_SESSION_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/executor.h"
#include "common/rate_limit.h"
#include "common/tls.h"
#include "coordinator/coordinator.h"
#include "coordinator/rpc/authorisation.h"
#include "tributary/v1/session.grpc.pb.h"

namespace tributary::coordinator {

// gRPC's reactions only post to the coordinator's executor; all state is confined to that executor, and so are all Start* and Finish calls,
// so that there is no lock for a reaction to wait on. Raw messages, so that a broadcast is serialised once for all streams.
//
// Open() is thread-safe; the other methods run on the executor. Outlives the server it is registered with.
class SessionService final : public v1::SessionService::WithRawCallbackMethod_Open<v1::SessionService::Service> {
 public:
  struct Options {
    // A session whose peer leaves more than this unread is closed.
    uint64_t max_queued_bytes = uint64_t{16} << 20;
    // A session that is being closed gets this long to read its last messages.
    absl::Duration close_grace = absl::Seconds(5);
    // Messages of one site's sessions; an honest one sends a few for each round, and a heartbeat every third of the lease. One that sends
    // more is closed with RESOURCE_EXHAUSTED, and `over_rate` (may be empty) is told on the executor.
    RateLimit::Options messages = {.per_second = 500, .burst = 5000};
    std::function<void(const std::string& site)> over_rate = nullptr;
    // Told on the executor how long the certificate is accepted with which a site has connected. May be empty.
    std::function<void(const std::string& site, const Validity& validity)> certificate_seen;
  };

  // All must outlive the service.
  SessionService(Coordinator* coordinator, SerialExecutor* executor, const Authorisation* authorisation, const Options& options);
  ~SessionService() override;

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Open(grpc::CallbackServerContext* context) override;

  // From now on a new session is refused with UNAVAILABLE. Thread-safe.
  void RefuseNew() { refusing_ = true; }

  // Whether a site's session runs on that connection (Peer::connection). Thread-safe.
  bool RunsOn(uint64_t connection) const;

  // On the executor. Closes every session once what waits for it is sent.
  void CloseAll(const absl::Status& status);
  // On the executor. Closes those of sites that are off the list by now.
  void CloseUnlisted();

 private:
  class Session;

  // For messages.
  std::string AddressOf(const grpc::CallbackServerContext& context) const;
  // On the executor. Encoded once per message, however many sessions send it.
  const grpc::ByteBuffer& Encode(const std::shared_ptr<const v1::CoordinatorMessage>& message);

  Coordinator* const coordinator_;
  SerialExecutor* const executor_;
  const Authorisation* const authorisation_;
  const Options options_;
  std::atomic<bool> refusing_{false};

  mutable std::mutex carriers_mutex_;
  std::multiset<uint64_t> carriers_;  // guarded by it: of every session that is open, its connection

  // On the executor.
  std::set<Session*> sessions_;
  std::map<std::string, RateLimit> messages_;  // by site
  std::shared_ptr<const v1::CoordinatorMessage> encoded_message_;
  grpc::ByteBuffer encoded_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_SESSION_SERVICE_H_
