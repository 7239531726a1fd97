#include "worker/worker_setup.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/channel.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "common/time_zone.h"
#include "proto/durations.h"
#include "worker/enrolment_client.h"

namespace tributary::worker {
namespace {

constexpr uint64_t kMinRate = 1024;

}  // namespace

WorkerEngineOptions EngineOptionsOf(const WorkerOptions& options, const QuietHours& hours, const std::vector<std::string>& saved_runs) {
  WorkerEngineOptions engine;
  engine.consent = options.config.consent();
  engine.coordinator = DescribeDestination(options.config.coordinator(), options.route);
  engine.software_version = options.software_version;
  engine.once = options.once;
  engine.withhold_losses = options.config.withhold_losses();
  engine.connect_timeout = options.connect_timeout;
  engine.max_backoff = DurationOf(options.config.max_backoff());
  engine.min_backoff = std::min(options.min_backoff, engine.max_backoff);
  engine.random = options.random;
  if (options.config.quiet_hours_size() > 0) {
    engine.quiet_until = [hours, clock = options.clock, zone = *options.time_zone]() -> std::optional<std::string> {
      const absl::Time now = clock->WallNow();
      const std::optional<std::string> end = hours.EndOf(now);  // operators elsewhere read it too
      return end.has_value() ? std::make_optional(absl::StrCat(*end, absl::FormatTime(" %Z", now, zone))) : std::nullopt;
    };
  }
  // A message on the session cannot be paced: what takes longer than a second travels beside it, in frames.
  if (options.config.bandwidth().up() != 0) {
    engine.max_inline_bytes = options.config.bandwidth().up();
  }
  engine.saved_runs = saved_runs;
  return engine;
}

TlsFiles FilesOf(const v1::TlsConfig& tls) {
  return {tls.ca(), tls.certificate(), tls.key()};
}

Identity IdentityOf(const v1::WorkerConfig& config) {
  return {config.federation(), Role::kSite, config.site()};
}

SessionClientOptions ClientOptionsOf(const WorkerOptions& options, const std::shared_ptr<CertificateFiles>& certificates,
                                     const std::string& worker_secret) {
  const v1::WorkerConfig& config = options.config;
  SessionClientOptions client;
  client.coordinator = config.coordinator();
  client.route = options.route;
  if (certificates != nullptr) {
    client.certificates = [certificates] { return certificates->current(); };
  }
  client.identity = IdentityOf(config);
  client.worker_secret = worker_secret;
  client.progress_timeout = options.progress_timeout;
  client.frame_bytes = options.frame_bytes;
  client.up_rate = config.bandwidth().up();
  client.down_rate = config.bandwidth().down();
  return client;
}

absl::Status CheckBandwidth(const v1::BandwidthConfig& bandwidth) {
  for (const uint64_t rate : {bandwidth.up(), bandwidth.down()}) {
    if (rate != 0 && rate < kMinRate) {
      return absl::InvalidArgumentError(absl::StrCat("bandwidth: ", rate, " bytes a second is too little for a run; allow at least ",
                                                     kMinRate, ", or omit the key for no cap"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<QuietHours> QuietHoursOf(const WorkerOptions& options) {
  if (options.config.quiet_hours_size() == 0) {
    return QuietHours();
  }
  TRIBUTARY_RETURN_IF_ERROR(Annotate(options.time_zone.status(), "quiet_hours"));
  const std::vector<std::string> spans(options.config.quiet_hours().begin(), options.config.quiet_hours().end());
  TRIBUTARY_ASSIGN_OR_RETURN(const QuietHours hours, QuietHours::Parse(spans, *options.time_zone));
  LogInfo("worker", "quiet hours ", absl::StrJoin(spans, ", "), " by the clock of ",
          DescribeTimeZone(*options.time_zone, options.clock->WallNow()), options.once ? "; --once works through them" : "");
  return hours;
}

absl::StatusOr<std::optional<TreeHeads>> OpenTreeHeads(const v1::WorkerConfig& config,
                                                       const std::shared_ptr<CertificateFiles>& certificates) {
  if (certificates == nullptr) {
    return std::optional<TreeHeads>();
  }
  TreeHeads::Options options;
  options.state_dir = config.state_dir();
  options.federation = config.federation();
  options.on_contradiction = config.audit_contradiction();
  options.ca = [certificates] { return certificates->current()->ca; };
  TRIBUTARY_ASSIGN_OR_RETURN(TreeHeads heads, TreeHeads::Open(std::move(options)));
  return std::make_optional(std::move(heads));
}

CertificateWatch::Options WatchOptionsOf(WorkerMetrics* metrics) {
  return {.component = "worker", .observe = [metrics](const CertificatePair& in_use, CertificateFilesState state) {
            metrics->SetCertificateExpiry(in_use.validity.end);
            metrics->SetCertificateFiles(state);
          }};
}

CertificateRenewal::Options RenewalOptionsOf(const WorkerOptions& options, const std::shared_ptr<CertificateFiles>& certificates) {
  CertificateRenewal::Options renewal;
  renewal.files = certificates;
  renewal.owner = IdentityOf(options.config);
  renewal.call = [address = options.config.coordinator(), route = options.route](const CertificatePair& own, const std::string& csr) {
    return CallRenew(address, route, own, csr);
  };
  renewal.jitter = options.random();
  renewal.clock = options.clock;
  return renewal;
}

}  // namespace tributary::worker
