#include "coordinator/server.h"

#include <unistd.h>

#include <algorithm>
#include <future>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/certificate_files.h"
#include "common/certificate_watch.h"
#include "common/clock.h"
#include "common/executor.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/folder_probe.h"
#include "common/listening.h"
#include "common/log.h"
#include "common/memory_limits.h"
#include "common/names.h"
#include "common/page_server.h"
#include "common/pki.h"
#include "common/status_macros.h"
#include "common/tls.h"
#include "coordinator/audit/audited_journal.h"
#include "coordinator/audit/head_publisher.h"
#include "coordinator/coordinator.h"
#include "coordinator/enrolment.h"
#include "coordinator/guard/pinned_authorities.h"
#include "coordinator/journal/journal.h"
#include "coordinator/journal/journal_disk.h"
#include "coordinator/journal/open_journal.h"
#include "coordinator/metrics.h"
#include "coordinator/rpc/enrolment_server.h"
#include "coordinator/rpc/health_server.h"
#include "coordinator/rpc/rpc_server.h"
#include "coordinator/run/log_keeping.h"
#include "coordinator/run/memory_need.h"
#include "coordinator/site_registrar.h"
#include "coordinator/site_registry.h"
#include "coordinator/status_page.h"
#include "nlohmann/json.hpp"
#include "proto/audit/tree_head.h"
#include "proto/config/reload.h"
#include "tributary/v1/admin.pb.h"

namespace tributary::coordinator {
namespace {

constexpr char kComponent[] = "coordinator";
constexpr uint64_t kMaxAuditPage = 256 << 10;  // of records in one answer
constexpr absl::Duration kInsecureWarningInterval = absl::Minutes(1);
// For an answer of the executor; a person waits no longer.
constexpr absl::Duration kStatusPatience = absl::Seconds(5);

TlsFiles FilesOf(const v1::TlsConfig& tls) {
  return {tls.ca(), tls.certificate(), tls.key()};
}

Identity OwnIdentity(const v1::CoordinatorConfig& config) {
  return {config.federation(), Role::kCoordinator, ""};
}

std::vector<PinnedAuthorities::Pin> PinsOf(const v1::CoordinatorConfig& config) {
  std::vector<PinnedAuthorities::Pin> pins;
  for (const v1::AuthorityConfig& authority : config.authorities()) {
    PinnedAuthorities::Pin& pin = pins.emplace_back();
    pin.ca = authority.ca();
    for (const std::string& site : authority.sites()) {
      pin.ids.insert(SpiffeId({config.federation(), Role::kSite, site}));
    }
    for (const std::string& name : authority.operators()) {
      pin.ids.insert(SpiffeId({config.federation(), Role::kOperator, name}));
    }
    for (const std::string& name : authority.auditors()) {
      pin.ids.insert(SpiffeId({config.federation(), Role::kAuditor, name}));
    }
  }
  return pins;
}

// Addresses, and that there is TLS or a reason to do without.
absl::Status CheckAddresses(const v1::CoordinatorConfig& config, const Server::Options& options) {
  const std::pair<const char*, const std::string&> addresses[] = {{"listen", config.listen()},
                                                                  {"metrics_listen", config.metrics_listen()},
                                                                  {"health_listen", config.health_listen()},
                                                                  {"enrol_listen", config.enrol_listen()}};
  for (const auto& [key, address] : addresses) {
    if (!address.empty()) {
      TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckHostPort(address, /*least_port=*/0), key));
    }
  }
  if (!config.status_listen().empty()) {
    TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckStatusAddress(config.status_listen()), "status_listen"));
  }
  if (!config.enrol_listen().empty() && (options.insecure || !config.has_enrolment())) {
    return WithExitCode(absl::InvalidArgumentError("enrol_listen needs `tls`, and a CA to sign with: set `enrolment`"), ExitCode::kUsage);
  }
  if (config.require_signed_updates() && options.insecure) {
    return absl::InvalidArgumentError("require_signed_updates: with --insecure nobody has a key to sign with; set `tls`");
  }
  if (options.insecure) {
    if (!options.insecure_anywhere) {
      TRIBUTARY_RETURN_IF_ERROR(CheckInsecureAddress(config.listen()));
    }
    return absl::OkStatus();
  }
  if (!config.has_tls()) {
    return WithExitCode(absl::InvalidArgumentError("`tls` is missing: set ca, certificate and key, or start with --insecure for a trial on "
                                                   "this machine"),
                        ExitCode::kUsage);
  }
  return absl::OkStatus();
}

// For a client on this machine: nothing connects to a wildcard address.
std::string Reachable(const std::string& host_port, int port) {
  std::string host = HostOf(host_port);
  if (host == "0.0.0.0" || host.empty()) {
    host = "127.0.0.1";
  } else if (host == "[::]") {
    host = "[::1]";
  }
  return absl::StrCat(host, ":", port);
}

class ServerImpl final : public Server {
 public:
  ServerImpl(const v1::CoordinatorConfig& config, const Options& options)
      : config_(config), options_(options), sites_({config.sites().begin(), config.sites().end()}) {}
  ~ServerImpl() override { Shutdown(absl::ZeroDuration()); }

  absl::Status Start();
  const Endpoints& endpoints() const override { return endpoints_; }
  absl::Status Reload(const v1::CoordinatorConfig& config) override;
  void Drain(std::function<void()> drained) override;
  void Shutdown(absl::Duration grace) override;

 private:
  std::string JournalFile() const { return config_.data_dir() + "/journal.db"; }
  std::string EndpointsFile() const { return config_.data_dir() + "/endpoints.json"; }
  absl::Status PrepareFolder();
  absl::Status OpenJournal();
  absl::Status OpenRegistry();
  absl::Status Recover();
  absl::Status ServePages();
  absl::Status ServeEnrolment();
  void SitesChanged();
  std::string StatusText();
  absl::Status PublishEndpoints();
  // Of the audit log. In plaintext it stays unsigned.
  absl::Status Sign(v1::TreeHead& head) const;
  // On the executor.
  absl::StatusOr<v1::ReadAuditResponse> ReadAudit(const v1::ReadAuditRequest& request);
  void WatchCertificates();
  void SiteCertificateSeen(const std::string& site, const Validity& validity);
  void WarnInsecure();

  const v1::CoordinatorConfig config_;
  const Options options_;
  // With what was reloaded.
  v1::CoordinatorConfig in_force_ = config_;
  Endpoints endpoints_;
  // In order of dependence: what is declared later is destroyed earlier.
  SiteRegistry sites_;
  std::unique_ptr<SiteRegistrar> registrar_;        // on the executor
  std::unique_ptr<Enrolment> enrolment_;            // on the executor
  std::shared_ptr<CertificateFiles> certificates_;  // null: plaintext
  PinnedAuthorities authorities_;
  ExpiryWarnings site_expiry_;  // on the executor
  std::unique_ptr<CoordinatorMetrics> metrics_;
  std::unique_ptr<CertificateWatch> certificate_watch_;
  std::unique_ptr<AuditedJournal> journal_;
  std::unique_ptr<HeadPublisher> heads_;
  std::unique_ptr<FileStore> snapshots_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<SerialExecutor> executor_;
  std::unique_ptr<PageServer> pages_;
  std::unique_ptr<PageServer> status_page_;
  std::unique_ptr<RpcServer> rpc_;
  RpcServer* serving_ = nullptr;  // rpc_, on the executor
  std::unique_ptr<EnrolmentServer> enrolment_server_;
  std::unique_ptr<HealthServer> health_;
  bool published_ = false;
};

absl::Status ServerImpl::Start() {
  TRIBUTARY_RETURN_IF_ERROR(CheckAddresses(config_, options_));
  if (!options_.insecure) {
    TRIBUTARY_ASSIGN_OR_RETURN(certificates_, CertificateFiles::Open(FilesOf(config_.tls()), OwnIdentity(config_)));
    TRIBUTARY_RETURN_IF_ERROR(authorities_.Replace(PinsOf(config_)));
  }
  if (const std::string exposure = KeyExposure(config_.tls().key()); !options_.insecure && !exposure.empty()) {
    LogWarning(kComponent, exposure);
  }
  TRIBUTARY_RETURN_IF_ERROR(PrepareFolder());
  // Held for a moment, before any port: of two coordinators of one configuration, the second is told of the folder. The journal takes the
  // lock for good; it is checked at length, while the health port already says that this coordinator is on its way.
  TRIBUTARY_RETURN_IF_ERROR(JournalDisk::Real().Lock(JournalFile()).status());
  metrics_ = std::make_unique<CoordinatorMetrics>(sites_.Names(), config_.data_dir());
  if (certificates_ != nullptr) {
    WatchCertificates();
  }
  if (!config_.health_listen().empty()) {
    absl::StatusOr<std::unique_ptr<HealthServer>> health = HealthServer::Start(config_.health_listen());
    TRIBUTARY_RETURN_IF_ERROR(Annotate(health.status(), "health_listen"));
    health_ = *std::move(health);
    endpoints_.health = Reachable(config_.health_listen(), health_->port());
  }
  TRIBUTARY_RETURN_IF_ERROR(OpenJournal());
  TRIBUTARY_RETURN_IF_ERROR(OpenRegistry());
  TRIBUTARY_RETURN_IF_ERROR(Recover());
  TRIBUTARY_RETURN_IF_ERROR(ServePages());
  RpcServer::Options rpc;
  if (certificates_ != nullptr) {
    rpc.certificates = authorities_.Widened([files = certificates_] { return files->current(); });
    rpc.authorities = &authorities_;
  }
  rpc.metrics = metrics_.get();
  rpc.sessions.over_rate = [this](const std::string& site) { metrics_->CountOverRate(site); };
  rpc.sessions.certificate_seen = [this](const std::string& site, const Validity& validity) { SiteCertificateSeen(site, validity); };
  rpc.admin.registrar = registrar_.get();
  rpc.admin.enrolment = enrolment_.get();
  rpc.transfers.metrics = metrics_.get();
  rpc.transfers.max_spool_bytes = kMaxSpoolBytes;
  rpc.admin.read_audit = [this](const v1::ReadAuditRequest& request) { return ReadAudit(request); };
  rpc.sessions.max_queued_bytes = std::max<uint64_t>(rpc.sessions.max_queued_bytes, 8 * config_.max_inline());
  TRIBUTARY_ASSIGN_OR_RETURN(rpc_, RpcServer::Start(config_, rpc, &sites_, coordinator_.get(), executor_.get()));
  endpoints_.listen = Reachable(config_.listen(), rpc_->port());
  executor_->Post([this, rpc = rpc_.get()] {
    serving_ = rpc;
    rpc->SitesChanged();  // since it was started
  });
  TRIBUTARY_RETURN_IF_ERROR(ServeEnrolment());
  // Before anybody is told where it serves.
  if (options_.insecure) {
    WarnInsecure();
  }
  TRIBUTARY_RETURN_IF_ERROR(PublishEndpoints());
  if (health_ != nullptr) {
    health_->Set(Health::kServing);
  }
  LogInfo(kComponent, "serving federation ", config_.federation(), " on ", HostOf(config_.listen()), ":", rpc_->port(),
          endpoints_.enrolment.empty() ? "" : absl::StrCat(", enrolment on ", endpoints_.enrolment),
          endpoints_.health.empty() ? "" : absl::StrCat(", health on ", endpoints_.health),
          endpoints_.metrics.empty() ? "" : absl::StrCat(", metrics on ", endpoints_.metrics),
          endpoints_.status.empty() ? "" : absl::StrCat(", status page at http://", endpoints_.status));
  return absl::OkStatus();
}

absl::Status ServerImpl::PrepareFolder() {
  TRIBUTARY_RETURN_IF_ERROR(Annotate(MakeDirectories(config_.data_dir()), "data_dir"));
  return Annotate(ProbeFolder(config_.data_dir()), "data_dir");
}

absl::Status ServerImpl::OpenJournal() {
  TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<Journal> journal, OpenSqliteJournal(JournalFile(), [metrics = metrics_.get()](double seconds) {
                               metrics->ObserveJournalFsync(seconds);
                             }));
  TRIBUTARY_ASSIGN_OR_RETURN(journal_, AuditedJournal::Over(std::move(journal), &Clock::Real(), config_.federation()));
  if (!journal_->log().kept()) {
    LogWarning(kComponent,
               "no audit log is kept: the journal is in the format of an earlier release; stop this coordinator, then `tributary "
               "journal upgrade ",
               config_.data_dir(), "`");
  }
  heads_ = std::make_unique<HeadPublisher>(&journal_->log(), &Clock::Real(), [this](v1::TreeHead& head) { return Sign(head); });
  // The folder is ours from here on. What an endpoints.json says is from a coordinator that ended without removing it.
  unlink(EndpointsFile().c_str());
  return absl::OkStatus();
}

absl::Status ServerImpl::OpenRegistry() {
  SiteRegistrar::Dependencies dependencies;
  dependencies.clock = &Clock::Real();
  dependencies.journal = journal_.get();
  dependencies.registry = &sites_;
  dependencies.approval = config_.enrolment().approval() == v1::EnrolmentConfig::REQUIRED ? Approval::kByAnother : Approval::kNone;
  dependencies.changed = [this] { SitesChanged(); };
  TRIBUTARY_ASSIGN_OR_RETURN(registrar_, SiteRegistrar::Open(std::move(dependencies)));
  CertificateSource certificates;
  if (certificates_ != nullptr) {
    certificates = [files = certificates_] { return files->current(); };
  }
  TRIBUTARY_ASSIGN_OR_RETURN(enrolment_, Enrolment::Open(config_, std::move(certificates), &Clock::Real(), registrar_.get()));
  metrics_->SetSites(sites_.Names());
  if (sites_.size() == 0) {
    LogWarning(kComponent, "there is no site yet: list some in `sites`, or add them: tributary site add NAME");
  }
  return absl::OkStatus();
}

// On the executor.
void ServerImpl::SitesChanged() {
  metrics_->SetSites(sites_.Names());
  if (serving_ != nullptr) {
    serving_->SitesChanged();
  }
}

absl::Status ServerImpl::ServeEnrolment() {
  if (config_.enrol_listen().empty()) {
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<EnrolmentServer>> server =
      EnrolmentServer::Start(config_.enrol_listen(), {.certificates = [files = certificates_] { return files->current(); },
                                                      .metrics = metrics_.get(),
                                                      .sites = &sites_,
                                                      .enrolment = enrolment_.get(),
                                                      .executor = executor_.get()});
  TRIBUTARY_RETURN_IF_ERROR(Annotate(server.status(), "enrol_listen"));
  enrolment_server_ = *std::move(server);
  endpoints_.enrolment = Reachable(config_.enrol_listen(), enrolment_server_->port());
  return absl::OkStatus();
}

absl::Status ServerImpl::Recover() {
  TRIBUTARY_ASSIGN_OR_RETURN(snapshots_, OpenFolder(config_.data_dir() + "/snapshots"));
  executor_ = std::make_unique<SerialExecutor>("coordinator");
  Coordinator::Dependencies dependencies;
  dependencies.clock = &Clock::Real();
  dependencies.sites = &sites_;
  dependencies.journal = journal_.get();
  dependencies.snapshots = snapshots_.get();
  dependencies.metrics = metrics_.get();
  dependencies.heads = heads_.get();
  dependencies.memory = [] { return ReadMemoryLimits(); };
  dependencies.post_after = [executor = executor_.get()](absl::Duration delay, std::function<void()> work) {
    executor->PostAfter(delay, std::move(work));
  };
  dependencies.fatal = [fatal = options_.fatal](const absl::Status& status) {
    LogError(kComponent, "cannot continue: ", status.message());
    if (fatal != nullptr) {
      fatal(status);
    }
  };
  // On the executor, like every other call: recovery may set timers that fire before it is done.
  const auto created = std::make_shared<std::promise<absl::StatusOr<std::unique_ptr<Coordinator>>>>();
  executor_->Post([this, created, &dependencies] { created->set_value(Coordinator::Create(config_, std::move(dependencies))); });
  TRIBUTARY_ASSIGN_OR_RETURN(coordinator_, created->get_future().get());
  return absl::OkStatus();
}

absl::Status ServerImpl::ServePages() {
  const std::string title = absl::StrCat("tributary-coordinator ", TRIBUTARY_VERSION);
  if (!config_.metrics_listen().empty()) {
    absl::StatusOr<std::unique_ptr<PageServer>> pages =
        PageServer::Start(config_.metrics_listen(), title, {MetricsPage([metrics = metrics_.get()] { return metrics->Text(); })});
    TRIBUTARY_RETURN_IF_ERROR(Annotate(pages.status(), "metrics_listen"));
    pages_ = *std::move(pages);
    endpoints_.metrics = Reachable(config_.metrics_listen(), pages_->port());
  }
  if (!config_.status_listen().empty()) {
    absl::StatusOr<std::unique_ptr<PageServer>> page =
        PageServer::Start(config_.status_listen(), title, {StatusPageAt([this] { return StatusText(); })});
    TRIBUTARY_RETURN_IF_ERROR(Annotate(page.status(), "status_listen"));
    status_page_ = *std::move(page);
    endpoints_.status = Reachable(config_.status_listen(), status_page_->port());
  }
  return absl::OkStatus();
}

// On a thread of the page server.
std::string ServerImpl::StatusText() {
  const std::optional<Standing> standing = AskWithin<Standing>(*executor_, kStatusPatience, [this] {
    Standing answer = StandingOf(*coordinator_, *journal_);
    answer.federation = config_.federation();
    return answer;
  });
  return standing.has_value() ? StatusPage(*standing, Clock::Real().WallNow()) : BusyPage();
}

absl::Status ServerImpl::PublishEndpoints() {
  const nlohmann::json json = {{"listen", endpoints_.listen},
                               {"health", endpoints_.health},
                               {"metrics", endpoints_.metrics},
                               {"status", endpoints_.status},
                               {"enrolment", endpoints_.enrolment}};
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(EndpointsFile(), json.dump() + "\n"));
  published_ = true;
  return absl::OkStatus();
}

absl::Status ServerImpl::Sign(v1::TreeHead& head) const {
  return certificates_ == nullptr ? absl::OkStatus() : SignTreeHead(*certificates_->current(), config_.federation(), head);
}

absl::StatusOr<v1::ReadAuditResponse> ServerImpl::ReadAudit(const v1::ReadAuditRequest& request) {
  v1::ReadAuditResponse response;
  response.set_federation(config_.federation());
  TRIBUTARY_ASSIGN_OR_RETURN(*response.mutable_head(), journal_->log().Head());
  if (request.first() == 0) {
    TRIBUTARY_RETURN_IF_ERROR(Sign(*response.mutable_head()));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> records,
                             journal_->log().Read(request.first(), response.head().size(), kMaxAuditPage));
  *response.mutable_records() = {records.begin(), records.end()};
  return response;
}

void ServerImpl::WatchCertificates() {
  certificate_watch_ = std::make_unique<CertificateWatch>(
      certificates_,
      CertificateWatch::Options{.component = kComponent,
                                .observe = [metrics = metrics_.get()](const CertificatePair& in_use, CertificateFilesState state) {
                                  metrics->SetCertificateExpiry(in_use.validity.end);
                                  metrics->SetCertificateFiles(state);
                                }});
}

void ServerImpl::SiteCertificateSeen(const std::string& site, const Validity& validity) {
  metrics_->SetSiteCertificateExpiry(site, validity.end);
  const std::string expiry = site_expiry_.Check(absl::StrCat("the certificate of site ", site), validity, Clock::Real().WallNow());
  if (!expiry.empty()) {
    LogWarning(kComponent, expiry);
  }
}

absl::Status ServerImpl::Reload(const v1::CoordinatorConfig& config) {
  TRIBUTARY_RETURN_IF_ERROR(CheckAddresses(config, options_));
  if (certificate_watch_ != nullptr) {
    // All is good before any is in force.
    TRIBUTARY_RETURN_IF_ERROR(PinnedAuthorities().Replace(PinsOf(config)));
    TRIBUTARY_RETURN_IF_ERROR(certificate_watch_->MoveTo(FilesOf(config.tls())));
    TRIBUTARY_RETURN_IF_ERROR(authorities_.Replace(PinsOf(config)));
  }
  const Reloaded reloaded =
      TakeOver(config, {"tls", "authorities", "sites", "operators", "auditors", "log_level", "log_format"}, &in_force_);
  const std::vector<std::string> sites(config.sites().begin(), config.sites().end());
  sites_.Replace(sites);
  metrics_->SetSites(sites_.Names());
  rpc_->MembersChanged(StaffOf(config));
  LogInfo(kComponent, reloaded.Text());
  return absl::OkStatus();
}

void ServerImpl::WarnInsecure() {
  LogWarning(kComponent, "--insecure: nothing is encrypted, and anyone who reaches ", endpoints_.listen,
             " can claim any identity; never use this with real data");
  executor_->PostAfter(kInsecureWarningInterval, [this] { WarnInsecure(); });
}

void ServerImpl::Drain(std::function<void()> drained) {
  if (health_ != nullptr) {
    health_->Set(Health::kNotServing);
  }
  rpc_->RefuseNewSessions();
  executor_->Post([this, drained = std::move(drained)] { coordinator_->Drain(drained); });
}

void ServerImpl::Shutdown(absl::Duration grace) {
  if (health_ != nullptr) {
    health_->Set(Health::kNotServing);
  }
  enrolment_server_.reset();
  if (rpc_ != nullptr) {
    rpc_->Shutdown(grace);
    rpc_.reset();
  }
  // It waits for the executor's answers.
  status_page_.reset();
  if (executor_ != nullptr) {
    executor_->Stop();
  }
  // Whoever waits for endpoints.json to go, to start the next coordinator, must find the folder free soon after; and it must be gone before
  // the lock, or it would be the next one's. So the lock, with the journal, is the last thing, and what takes time comes before both.
  pages_.reset();
  certificate_watch_.reset();
  coordinator_.reset();
  snapshots_.reset();
  if (published_) {
    unlink(EndpointsFile().c_str());
    published_ = false;
  }
  journal_.reset();
}

}  // namespace

absl::Status Server::Check(const v1::CoordinatorConfig& config, const Options& options) {
  TRIBUTARY_RETURN_IF_ERROR(CheckAddresses(config, options));
  TRIBUTARY_RETURN_IF_ERROR(WithExitCode(CheckLogConfig(config.log()), ExitCode::kUsage));
  if (options.insecure) {
    return absl::OkStatus();
  }
  TRIBUTARY_RETURN_IF_ERROR(LoadCertificatePair(FilesOf(config.tls()), OwnIdentity(config)).status());
  TRIBUTARY_RETURN_IF_ERROR(PinnedAuthorities().Replace(PinsOf(config)));
  return config.has_enrolment() ? CertificateAuthority::Load(config.enrolment().ca_certificate(), config.enrolment().ca_key()).status()
                                : absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const v1::CoordinatorConfig& config, const Options& options) {
  auto server = std::make_unique<ServerImpl>(config, options);
  TRIBUTARY_RETURN_IF_ERROR(server->Start());
  return server;
}

}  // namespace tributary::coordinator
