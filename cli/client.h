// The operator's side of a connection: who calls, whom, and how failures are told.
#ifndef TRIBUTARY_CLI_CLIENT_H_
#define TRIBUTARY_CLI_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/interrupt.h"
#include "common/channel.h"
#include "common/clock.h"
#include "common/proxy.h"
#include "common/tls.h"
#include "tributary/v1/admin.grpc.pb.h"
#include "tributary/v1/transfer.grpc.pb.h"

namespace tributary::cli {

// As given on the command line; what is empty comes from the file `config` (an OperatorConfig), if there is one.
struct ConnectionFlags {
  std::string config;
  std::string coordinator;  // host:port
  TlsFiles tls;
  std::string proxy;         // as in OperatorConfig
  ProxyEnvironment proxies;  // what decides where neither says
  std::string federation;    // with --insecure
  std::string name;          // of the operator, with --insecure
  bool insecure = false;
  bool insecure_anywhere = false;
};

// Completes the flags, finds out who calls (from the certificate; from the flags with --insecure), and checks the TLS files.
// InvalidArgument: something is missing or wrong, or --insecure is not allowed there. Unauthenticated: the files fail a check, or are not
// an operator's or auditor's.
absl::StatusOr<Connection> ResolveConnection(const ConnectionFlags& flags);

// Blocking calls with deadlines, cancelled by `interrupt`. Not thread-safe. Errors name the coordinator's address, the cause and what to
// check: Unavailable and DeadlineExceeded (exit code kUnreachable), Unauthenticated and PermissionDenied (kCredentials), NotFound,
// Cancelled (interrupted).
class Client {
 public:
  // `interrupt` and `clock` must outlive the client.
  Client(const Connection& connection, Interrupt* interrupt, const Clock* clock);

  absl::StatusOr<v1::RunStatus> SubmitRun(const v1::RunSpec& spec);
  absl::StatusOr<v1::ListRunsResponse> ListRuns();
  // Empty `run`: the newest.
  absl::StatusOr<v1::RunStatus> GetRun(const std::string& run);
  // Rounds after `after_round`; 0: all, from the initial weights on.
  absl::StatusOr<v1::RunHistory> GetRunHistory(const std::string& run, uint64_t after_round = 0);
  absl::StatusOr<v1::RunStatus> StopRun(const std::string& run, const std::string& reason);
  absl::StatusOr<v1::RunStatus> PauseRun(const std::string& run, const std::string& reason);
  absl::StatusOr<v1::RunStatus> ResumeRun(const std::string& run);
  absl::StatusOr<v1::RunStatus> ReadmitSite(const std::string& run, const std::string& site);
  absl::StatusOr<v1::RunStatus> ExtendRun(const std::string& run, uint64_t rounds);
  absl::StatusOr<v1::ServerInfo> GetServerInfo();
  // Of the audit log: records from `first` on, as many as come at once.
  absl::StatusOr<v1::ReadAuditResponse> ReadAudit(uint64_t first);
  absl::StatusOr<v1::ListSitesResponse> ListSites();
  absl::StatusOr<v1::Site> ChangeSite(const v1::ChangeSiteRequest& request);
  absl::StatusOr<v1::SiteToken> IssueSiteToken(const v1::IssueSiteTokenRequest& request);

  // Calls `on_status` for every status until the run ends, and returns the last one. A connection that breaks after the first status is
  // tried again for `kPatience`; `on_gap` hears why.
  absl::StatusOr<v1::RunStatus> WatchRun(const std::string& run, const std::function<void(const v1::RunStatus&)>& on_status,
                                         const std::function<void(const absl::Status&)>& on_gap);

  // The whole of what `request` names, checksums verified, resumed over broken connections. ResourceExhausted: longer than `max_bytes`.
  // DataLoss: what arrived is not what was sent. `on_progress` is told bytes so far and in all.
  absl::StatusOr<std::string> Download(v1::DownloadRequest request, uint64_t max_bytes,
                                       const std::function<void(uint64_t, uint64_t)>& on_progress);

 private:
  static constexpr absl::Duration kCallTimeout = absl::Seconds(20);
  // The coordinator reads a run's initial weights and keeps its first state before it answers.
  static constexpr absl::Duration kSubmitTimeout = absl::Minutes(5);
  static constexpr absl::Duration kStreamTimeout = absl::Hours(12);  // of one attempt; long ones go on with another
  static constexpr absl::Duration kPatience = absl::Minutes(2);

  void Prepare(grpc::ClientContext* context, absl::Duration timeout) const;
  absl::Status Explain(const grpc::Status& status, absl::Duration timeout) const;
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::AdminService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request, absl::Duration timeout = kCallTimeout);
  // One attempt; `status` holds the last status seen.
  absl::Status WatchOnce(const std::string& run, const std::function<void(const v1::RunStatus&)>& on_status, v1::RunStatus* status);
  // One attempt; appends to `bytes`.
  absl::Status DownloadOnce(const v1::DownloadRequest& request, uint64_t max_bytes,
                            const std::function<void(uint64_t, uint64_t)>& on_progress, std::string* bytes, std::string* sha256);

  const Connection connection_;
  const std::string request_id_;  // of every call; the coordinator logs it
  Interrupt* const interrupt_;
  const Clock* const clock_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
  std::unique_ptr<v1::TransferService::Stub> transfer_;
};

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_CLIENT_H_
