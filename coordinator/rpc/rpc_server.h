// The gRPC server of workers and operators: its services on one address, over one Coordinator.
#ifndef TRIBUTARY_COORDINATOR_RPC_RPC_SERVER_H_
#define TRIBUTARY_COORDINATOR_RPC_RPC_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/executor.h"
#include "common/tls.h"
#include "coordinator/coordinator.h"
#include "coordinator/guard/guard.h"
#include "coordinator/rpc/admin_service.h"
#include "coordinator/rpc/authorisation.h"
#include "coordinator/rpc/member_service.h"
#include "coordinator/rpc/renewal_service.h"
#include "coordinator/rpc/session_service.h"
#include "coordinator/rpc/transfer_service.h"
#include "coordinator/site_registry.h"
#include "tributary/v1/config.pb.h"

namespace tributary::coordinator {

// Thread-safe, but not on the executor's own thread: Start, Shutdown and the destructor wait for work on it.
class RpcServer {
 public:
  struct Options {
    // What to present, asked at every handshake. Null: plaintext.
    CertificateSource certificates;
    // Which CA may speak for whom. Null: those that `certificates` trusts for everybody. Must outlive the server.
    const PinnedAuthorities* authorities = nullptr;
    // Counts connections, and calls that are refused. Must outlive the server.
    CoordinatorMetrics* metrics = &CoordinatorMetrics::None();
    SessionService::Options sessions;
    TransferService::Options transfers;
    AdminService::Options admin;
  };

  // Serves config.listen to `sites` and the staff of `config`. `coordinator` is called on `executor` only; all three must outlive the
  // server. InvalidArgument, exit code kUsage: the address cannot be listened on; says why (in use, not of this machine, not permitted).
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const v1::CoordinatorConfig& config, const Options& options,
                                                          const SiteRegistry* sites, Coordinator* coordinator, SerialExecutor* executor);
  // As Shutdown with no grace.
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // The port listened on.
  int port() const { return guard_->port(); }

  // Those who may call changed: replaces operators and auditors, and closes what those have open who are no longer among them or `sites`,
  // or whose CA may no longer speak for them.
  void MembersChanged(Staff staff);

  // On the executor: the registry has changed. Closes what sites have open that no longer belong.
  void SitesChanged();

  // New sessions get UNAVAILABLE; what is open goes on.
  void RefuseNewSessions() { sessions_.RefuseNew(); }

  // Ends all streams with UNAVAILABLE, waits at most `grace` for calls to finish, then cancels them. When it returns, no call is left and
  // nothing of it is on the executor. Idempotent.
  void Shutdown(absl::Duration grace);

 private:
  RpcServer(const v1::CoordinatorConfig& config, const Options& options, std::unique_ptr<Guard> guard, const SiteRegistry* sites,
            Coordinator* coordinator, SerialExecutor* executor);
  // Runs `work` on the executor and waits for it.
  void RunOnExecutor(const std::function<void()>& work);

  SerialExecutor* const executor_;
  const std::unique_ptr<Guard> guard_;
  Authorisation authorisation_;
  SessionService sessions_;
  TransferService transfers_;
  AdminService admin_;
  RenewalService renewals_;
  MemberService members_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_RPC_SERVER_H_
