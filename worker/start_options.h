// What programs that start a worker have in common: from worker.yaml to WorkerOptions.
#ifndef TRIBUTARY_WORKER_START_OPTIONS_H_
#define TRIBUTARY_WORKER_START_OPTIONS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/proxy.h"
#include "tributary/v1/config.pb.h"
#include "worker/worker.h"

namespace tributary::worker {

struct Security {
  // Plaintext, to this machine itself.
  bool insecure = false;
  // With `insecure`: to anywhere.
  bool insecure_anywhere = false;
};

// What a program reads of its environment.
struct Environment {
  ProxyEnvironment proxies;
  std::optional<std::string> time_zone;  // TZ
};

// What can be wrong with address and certificates before any connection is tried. `file`: of the configuration, for messages.
// InvalidArgument; errors of LoadCertificatePair. Warns of a key that others can read.
absl::Status CheckConnection(const v1::WorkerConfig& config, const std::string& file, const Security& security);

// Of a configuration that CheckConnection has passed: with the route, time zone, randomness and version of this machine and program; all
// but a trainer. InvalidArgument: a proxy that is none.
absl::StatusOr<WorkerOptions> StartOptionsOf(v1::WorkerConfig config, const std::string& file, const Security& security,
                                             const Environment& environment);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_START_OPTIONS_H_
