// What the worker's parts are given of its configuration.
#ifndef TRIBUTARY_WORKER_WORKER_SETUP_H_
#define TRIBUTARY_WORKER_WORKER_SETUP_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/certificate_files.h"
#include "common/certificate_watch.h"
#include "common/tls.h"
#include "tributary/v1/config.pb.h"
#include "worker/certificate_renewal.h"
#include "worker/metrics.h"
#include "worker/quiet_hours.h"
#include "worker/session_client.h"
#include "worker/tree_heads.h"
#include "worker/worker.h"
#include "worker/worker_engine.h"

namespace tributary::worker {

TlsFiles FilesOf(const v1::TlsConfig& tls);
Identity IdentityOf(const v1::WorkerConfig& config);

// `saved_runs`: as in WorkerEngineOptions.
WorkerEngineOptions EngineOptionsOf(const WorkerOptions& options, const QuietHours& hours, const std::vector<std::string>& saved_runs);

// `certificates`: null in plaintext.
SessionClientOptions ClientOptionsOf(const WorkerOptions& options, const std::shared_ptr<CertificateFiles>& certificates,
                                     const std::string& worker_secret);

// InvalidArgument: a cap of the line that heartbeats alone would fill.
absl::Status CheckBandwidth(const v1::BandwidthConfig& bandwidth);

// Told of in the log. InvalidArgument: no hours, or no time zone for them.
absl::StatusOr<QuietHours> QuietHoursOf(const WorkerOptions& options);

// What is held of the coordinator's audit log. In plaintext nothing is: anybody could have made it. Errors of TreeHeads::Open.
absl::StatusOr<std::optional<TreeHeads>> OpenTreeHeads(const v1::WorkerConfig& config,
                                                       const std::shared_ptr<CertificateFiles>& certificates);

// `metrics` must outlive the watch.
CertificateWatch::Options WatchOptionsOf(WorkerMetrics* metrics);

CertificateRenewal::Options RenewalOptionsOf(const WorkerOptions& options, const std::shared_ptr<CertificateFiles>& certificates);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_WORKER_SETUP_H_
