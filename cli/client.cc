#include "cli/client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/certificate_files.h"
#include "common/channel.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/names.h"
#include "common/pki.h"
#include "common/request_id.h"
#include "common/status_macros.h"
#include "proto/config/yaml.h"
#include "proto/run_state.h"
#include "tributary/v1/config.pb.h"

namespace tributary::cli {
namespace {

// Of a connection that has worked: credentials that were good once are refused by what stands between, or in the middle of a rotation.
bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || ExitCodeOf(status) == ExitCode::kCredentials;
}

// Who the certificate says it is: an operator or an auditor.
absl::StatusOr<Identity> CallerOf(const std::string& certificate) {
  TRIBUTARY_ASSIGN_OR_RETURN(const CertificateInfo info, ReadCertificate(certificate));
  const absl::StatusOr<Identity> identity = ParseSpiffeId(info.spiffe_id);
  if (identity.ok() && (identity->role == Role::kOperator || identity->role == Role::kAuditor)) {
    return identity;
  }
  return WithExitCode(absl::UnauthenticatedError(absl::StrCat(certificate, " is not the certificate of an operator or auditor (it names ",
                                                              info.spiffe_id.empty() ? "no SPIFFE id" : info.spiffe_id,
                                                              "); issue one: tributary pki issue DIR --operator NAME")),
                      ExitCode::kCredentials);
}

void TakeIfEmpty(const std::string& from, std::string* to) {
  if (to->empty()) {
    *to = from;
  }
}

grpc::ChannelArguments ArgumentsOfChannel() {
  grpc::ChannelArguments arguments;
  // The history of a long run is one message.
  arguments.SetMaxReceiveMessageSize(256 << 20);
  return arguments;
}

}  // namespace

absl::StatusOr<Connection> ResolveConnection(const ConnectionFlags& flags) {
  ConnectionFlags all = flags;
  if (!flags.config.empty()) {
    v1::OperatorConfig config;
    TRIBUTARY_RETURN_IF_ERROR(LoadYaml(flags.config, &config));
    TakeIfEmpty(config.coordinator(), &all.coordinator);
    TakeIfEmpty(config.federation(), &all.federation);
    TakeIfEmpty(config.name(), &all.name);
    TakeIfEmpty(config.proxy(), &all.proxy);
    TakeIfEmpty(config.tls().ca(), &all.tls.ca);
    TakeIfEmpty(config.tls().certificate(), &all.tls.certificate);
    TakeIfEmpty(config.tls().key(), &all.tls.key);
  }
  if (all.coordinator.empty()) {
    return absl::InvalidArgumentError(
        "no coordinator: give --coordinator HOST:PORT, or --config FILE (or TRIBUTARY_CONFIG in the environment) with the key "
        "`coordinator`");
  }
  TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckHostPort(all.coordinator), "coordinator"));

  TRIBUTARY_ASSIGN_OR_RETURN(Route route, ChooseRoute(all.coordinator, all.proxy, all.proxies));
  Connection connection{
      .address = all.coordinator, .route = std::move(route), .insecure = all.insecure, .files = all.tls, .tls = {}, .identity = {}};
  if (all.insecure) {
    if (!all.insecure_anywhere) {
      TRIBUTARY_RETURN_IF_ERROR(CheckInsecureAddress(all.coordinator));
    }
    connection.identity = {all.federation, Role::kOperator, all.name};
    if (!ParseSpiffeId(SpiffeId(connection.identity)).ok()) {
      return absl::InvalidArgumentError(
          "with --insecure no certificate identifies the caller: give --federation NAME and --name OPERATOR, or both in --config");
    }
    return connection;
  }
  if (all.tls.ca.empty() || all.tls.certificate.empty() || all.tls.key.empty()) {
    return absl::InvalidArgumentError("no certificates: give --ca, --cert and --key, or --config FILE with the key `tls`");
  }
  TRIBUTARY_ASSIGN_OR_RETURN(connection.identity, CallerOf(all.tls.certificate));
  // What the configuration says of the caller must be what the certificate says; the flags are for --insecure alone.
  if (!all.federation.empty()) {
    connection.identity.federation = all.federation;
  }
  if (!all.name.empty()) {
    connection.identity.name = all.name;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(connection.tls, LoadCertificatePair(all.tls, connection.identity));
  return connection;
}

Client::Client(const Connection& connection, Interrupt* interrupt, const Clock* clock)
    : connection_(connection),
      request_id_(NewRequestId()),
      interrupt_(interrupt),
      clock_(clock),
      channel_(MakeChannel(connection.address,
                           connection.insecure ? MakeInsecureChannelCredentials() : MakeChannelCredentials(connection.tls),
                           connection.route, ArgumentsOfChannel())),
      admin_(v1::AdminService::NewStub(channel_)),
      transfer_(v1::TransferService::NewStub(channel_)) {}

void Client::Prepare(grpc::ClientContext* context, absl::Duration timeout) const {
  context->set_deadline(absl::ToChronoTime(clock_->WallNow() + timeout));
  context->AddMetadata(kRequestIdKey, request_id_);
  if (connection_.insecure) {
    context->AddMetadata(kInsecureIdentityKey, SpiffeId(connection_.identity));
  }
}

absl::Status Client::Explain(const grpc::Status& status, absl::Duration timeout) const {
  if (status.ok()) {
    return absl::OkStatus();
  }
  if (interrupt_->raised()) {
    return WithExitCode(absl::CancelledError("interrupted"), ExitCode::kInterrupted);
  }
  return ExplainCallFailure(status, connection_, timeout);
}

template <typename Request, typename Response>
absl::StatusOr<Response> Client::Call(grpc::Status (v1::AdminService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                      const Request& request, absl::Duration timeout) {
  grpc::ClientContext context;
  Prepare(&context, timeout);
  const Interrupt::Registration cancel(interrupt_, [&context] { context.TryCancel(); });
  Response response;
  TRIBUTARY_RETURN_IF_ERROR(Explain((admin_.get()->*method)(&context, request, &response), timeout));
  return response;
}

absl::StatusOr<v1::RunStatus> Client::SubmitRun(const v1::RunSpec& spec) {
  v1::SubmitRunRequest request;
  *request.mutable_spec() = spec;
  return Call(&v1::AdminService::Stub::SubmitRun, request, kSubmitTimeout);
}

absl::StatusOr<v1::ListRunsResponse> Client::ListRuns() {
  return Call(&v1::AdminService::Stub::ListRuns, v1::ListRunsRequest());
}

absl::StatusOr<v1::RunStatus> Client::GetRun(const std::string& run) {
  if (run.empty()) {
    TRIBUTARY_ASSIGN_OR_RETURN(const v1::ListRunsResponse runs, ListRuns());
    if (runs.runs().empty()) {
      return absl::NotFoundError("there is no run yet; submit one: tributary run submit FILE");
    }
    return runs.runs(0);
  }
  v1::GetRunRequest request;
  request.set_run(run);
  return Call(&v1::AdminService::Stub::GetRun, request);
}

absl::StatusOr<v1::RunHistory> Client::GetRunHistory(const std::string& run, uint64_t after_round) {
  v1::GetRunRequest request;
  request.set_run(run);
  request.set_after_round(after_round);
  return Call(&v1::AdminService::Stub::GetRunHistory, request);
}

absl::StatusOr<v1::RunStatus> Client::StopRun(const std::string& run, const std::string& reason) {
  v1::StopRunRequest request;
  request.set_run(run);
  request.set_reason(reason);
  return Call(&v1::AdminService::Stub::StopRun, request);
}

absl::StatusOr<v1::RunStatus> Client::PauseRun(const std::string& run, const std::string& reason) {
  v1::PauseRunRequest request;
  request.set_run(run);
  request.set_reason(reason);
  return Call(&v1::AdminService::Stub::PauseRun, request);
}

absl::StatusOr<v1::RunStatus> Client::ResumeRun(const std::string& run) {
  v1::ResumeRunRequest request;
  request.set_run(run);
  return Call(&v1::AdminService::Stub::ResumeRun, request);
}

absl::StatusOr<v1::RunStatus> Client::ReadmitSite(const std::string& run, const std::string& site) {
  v1::ReadmitSiteRequest request;
  request.set_run(run);
  request.set_site(site);
  return Call(&v1::AdminService::Stub::ReadmitSite, request);
}

absl::StatusOr<v1::RunStatus> Client::ExtendRun(const std::string& run, uint64_t rounds) {
  v1::ExtendRunRequest request;
  request.set_run(run);
  request.set_rounds(rounds);
  return Call(&v1::AdminService::Stub::ExtendRun, request);
}

absl::StatusOr<v1::ListSitesResponse> Client::ListSites() {
  return Call(&v1::AdminService::Stub::ListSites, v1::ListSitesRequest());
}

absl::StatusOr<v1::Site> Client::ChangeSite(const v1::ChangeSiteRequest& request) {
  return Call(&v1::AdminService::Stub::ChangeSite, request);
}

absl::StatusOr<v1::SiteToken> Client::IssueSiteToken(const v1::IssueSiteTokenRequest& request) {
  return Call(&v1::AdminService::Stub::IssueSiteToken, request);
}

absl::StatusOr<v1::ServerInfo> Client::GetServerInfo() {
  return Call(&v1::AdminService::Stub::GetServerInfo, v1::GetServerInfoRequest());
}

absl::StatusOr<v1::ReadAuditResponse> Client::ReadAudit(uint64_t first) {
  v1::ReadAuditRequest request;
  request.set_first(first);
  return Call(&v1::AdminService::Stub::ReadAudit, request);
}

absl::Status Client::WatchOnce(const std::string& run, const std::function<void(const v1::RunStatus&)>& on_status, v1::RunStatus* status) {
  grpc::ClientContext context;
  Prepare(&context, kStreamTimeout);
  const Interrupt::Registration cancel(interrupt_, [&context] { context.TryCancel(); });
  v1::GetRunRequest request;
  request.set_run(run);
  const auto reader = admin_->WatchRun(&context, request);
  v1::RunStatus next;
  while (reader->Read(&next)) {
    *status = next;
    on_status(*status);
  }
  TRIBUTARY_RETURN_IF_ERROR(Explain(reader->Finish(), kStreamTimeout));
  if (IsOver(status->state())) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat("the coordinator at ", connection_.address, " ended the stream; it may be restarting"));
}

absl::StatusOr<v1::RunStatus> Client::WatchRun(const std::string& run, const std::function<void(const v1::RunStatus&)>& on_status,
                                               const std::function<void(const absl::Status&)>& on_gap) {
  constexpr absl::Duration kFirstPause = absl::Milliseconds(500);
  v1::RunStatus status;
  absl::Time last_heard = absl::InfinitePast();
  absl::Duration pause = kFirstPause;
  const auto heard = [&](const v1::RunStatus& heard_status) {
    last_heard = clock_->Now();
    pause = kFirstPause;
    on_status(heard_status);
  };
  while (true) {
    // After the first status its id is used: a newer run may take the name.
    const absl::Status result = WatchOnce(status.run_id().empty() ? run : status.run_id(), heard, &status);
    if (result.ok()) {
      return status;
    }
    const bool was_connected = last_heard != absl::InfinitePast();
    if (!was_connected || !IsTransient(result) || clock_->Now() - last_heard > kPatience) {
      return result;
    }
    on_gap(result);
    if (interrupt_->WaitFor(pause)) {
      return WithExitCode(absl::CancelledError("interrupted"), ExitCode::kInterrupted);
    }
    pause = std::min(pause * 2, absl::Seconds(5));
  }
}

absl::Status Client::DownloadOnce(const v1::DownloadRequest& request, uint64_t max_bytes,
                                  const std::function<void(uint64_t, uint64_t)>& on_progress, std::string* bytes, std::string* sha256) {
  grpc::ClientContext context;
  Prepare(&context, kStreamTimeout);
  const Interrupt::Registration cancel(interrupt_, [&context] { context.TryCancel(); });
  const auto reader = transfer_->Download(&context, request);
  absl::Status damage;
  uint64_t total = 0;
  v1::DownloadFrame frame;
  while (damage.ok() && reader->Read(&frame)) {
    total = frame.total_bytes();
    if (total > max_bytes) {
      damage = WithExitCode(absl::ResourceExhaustedError(
                                absl::StrCat("the coordinator announces ", total, " bytes where at most ", max_bytes, " can be meant")),
                            ExitCode::kDamaged);
    } else if (frame.offset() != bytes->size() || frame.data().size() > total - bytes->size()) {
      damage = absl::DataLossError(
          absl::StrCat("a frame of the download is out of place (offset ", frame.offset(), ", ", bytes->size(), " expected)"));
    } else if (Crc32c(frame.data()) != frame.crc32c()) {
      damage = absl::DataLossError(absl::StrCat("the frame at ", frame.offset(), " arrived damaged (CRC-32C); try again"));
    } else {
      bytes->reserve(total);
      bytes->append(frame.data());
      *sha256 = frame.sha256();
      on_progress(bytes->size(), total);
    }
  }
  if (!damage.ok()) {
    context.TryCancel();
  }
  const grpc::Status end = reader->Finish();
  if (!damage.ok()) {
    return damage;
  }
  TRIBUTARY_RETURN_IF_ERROR(Explain(end, kStreamTimeout));
  if (bytes->size() != total || sha256->empty()) {
    return absl::UnavailableError("the download ended before its last frame");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Client::Download(v1::DownloadRequest request, uint64_t max_bytes,
                                             const std::function<void(uint64_t, uint64_t)>& on_progress) {
  constexpr int kAttempts = 6;  // in a row without a byte
  std::string bytes;
  std::string sha256;
  for (int attempt = 1;; ++attempt) {
    const uint64_t before = bytes.size();
    request.set_offset(before);
    const absl::Status status = DownloadOnce(request, max_bytes, on_progress, &bytes, &sha256);
    if (status.ok()) {
      break;
    }
    if (bytes.size() > before) {
      attempt = 0;
    }
    // Before the first byte an unreachable coordinator is the answer; later it is a link that broke.
    if (!IsTransient(status) || bytes.empty() || attempt >= kAttempts) {
      return status;
    }
    if (interrupt_->WaitFor(absl::Seconds(1 << std::max(attempt - 1, 0)))) {
      return WithExitCode(absl::CancelledError("interrupted"), ExitCode::kInterrupted);
    }
  }
  if (DigestBytes(Sha256(bytes)) != sha256) {
    return absl::DataLossError("the download is not what the coordinator sent (SHA-256); try again");
  }
  return bytes;
}

}  // namespace tributary::cli
