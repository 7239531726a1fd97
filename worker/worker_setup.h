// What the worker's parts are given of its configuration.
#ifndef TRIBUTARY_WORKER_WORKER_SETUP_H_
#define TRIBUTARY_WORKER_WORKER_SETUP_H_

#include <memory>
#include <string>
#include <vector>

#include "common/certificate_files.h"
#include "common/tls.h"
#include "tributary/v1/config.pb.h"
#include "worker/quiet_hours.h"
#include "worker/session_client.h"
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

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_WORKER_SETUP_H_
