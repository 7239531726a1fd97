#include "worker/start_options.h"

#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/certificate_files.h"
#include "common/log.h"
#include "common/names.h"
#include "common/status_macros.h"
#include "common/time_zone.h"
#include "common/tls.h"
#include "worker/worker_setup.h"

namespace tributary::worker {

absl::Status CheckConnection(const v1::WorkerConfig& config, const std::string& file, const Security& security) {
  TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckHostPort(config.coordinator()), absl::StrCat(file, ": coordinator")));
  if (security.insecure) {
    return security.insecure_anywhere ? absl::OkStatus() : CheckInsecureAddress(config.coordinator());
  }
  if (!config.has_tls()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": `tls` is missing: set ca, certificate and key, or start with --insecure for a trial on this machine"));
  }
  TRIBUTARY_RETURN_IF_ERROR(LoadCertificatePair(FilesOf(config.tls()), IdentityOf(config)).status());
  if (const std::string exposure = KeyExposure(config.tls().key()); !exposure.empty()) {
    LogWarning("worker", exposure);
  }
  return absl::OkStatus();
}

absl::StatusOr<WorkerOptions> StartOptionsOf(v1::WorkerConfig config, const std::string& file, const Security& security,
                                             const Environment& environment) {
  WorkerOptions options;
  absl::StatusOr<Route> route = ChooseRoute(config.coordinator(), config.proxy(), environment.proxies);
  TRIBUTARY_RETURN_IF_ERROR(Annotate(route.status(), file));
  options.route = *std::move(route);
  options.time_zone = LoadMachineTimeZone(environment.time_zone);
  options.software_version = TRIBUTARY_VERSION;
  options.insecure = security.insecure;
  options.random = [engine = std::mt19937_64(std::random_device()())]() mutable {
    return std::uniform_real_distribution<double>()(engine);
  };
  options.config = std::move(config);
  return options;
}

}  // namespace tributary::worker
