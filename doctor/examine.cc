#include "doctor/examine.h"

#include <filesystem>
#include <initializer_list>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/channel.h"
#include "common/listening.h"
#include "common/names.h"
#include "common/status_macros.h"
#include "common/time_zone.h"
#include "doctor/checks.h"
#include "proto/config/yaml.h"
#include "tributary/v1/config.pb.h"

namespace tributary::doctor {
namespace {

constexpr uint64_t kNeededDisk = uint64_t{256} << 20;
// LibTorch takes this much before there is a model.
constexpr uint64_t kNeededByWorker = uint64_t{256} << 20;
constexpr uint64_t kNeededByCoordinator = uint64_t{64} << 20;

TlsFiles FilesOf(const v1::TlsConfig& tls) {
  return {tls.ca(), tls.certificate(), tls.key()};
}

void AddConfiguration(const std::string& file, const absl::Status& status, Findings* findings) {
  if (status.ok()) {
    return Ok("configuration", file, findings);
  }
  Fail("configuration", status, findings);
}

absl::Status MissingTls(const std::string& file) {
  return WithExitCode(
      absl::InvalidArgumentError(absl::StrCat(file, " has no `tls`; add ca, certificate and key, or use --insecure on loopback")),
      ExitCode::kUsage);
}

absl::Status CheckAddress(const std::string& file, const char* key, const std::string& address, int least_port) {
  return Annotate(CheckHostPort(address, least_port), absl::StrCat(file, ": ", key));
}

absl::Status CheckStatusPage(const std::string& file, const std::string& address) {
  return address.empty() ? absl::OkStatus() : Annotate(CheckStatusAddress(address), absl::StrCat(file, ": status_listen"));
}

InsecureWhere WhereOf(const Surroundings& surroundings) {
  return surroundings.insecure_anywhere ? InsecureWhere::kAnywhere : InsecureWhere::kThisMachine;
}

}  // namespace

Findings ExamineSite(const Surroundings& surroundings, const std::string& file) {
  v1::WorkerConfig config;
  absl::Status status = LoadYaml(file, &config);
  status.Update(CheckAddress(file, "coordinator", config.coordinator(), /*least_port=*/1));
  if (!config.metrics_listen().empty()) {
    status.Update(CheckAddress(file, "metrics_listen", config.metrics_listen(), /*least_port=*/0));
  }
  status.Update(CheckStatusPage(file, config.status_listen()));
  if (status.ok() && !surroundings.insecure && !config.has_tls()) {
    status = MissingTls(file);
  }
  Route route;
  if (status.ok()) {
    absl::StatusOr<Route> chosen = ChooseRoute(config.coordinator(), config.proxy(), surroundings.proxies);
    status = Annotate(chosen.status(), file);
    route = chosen.ok() ? *std::move(chosen) : Route();
  }
  Findings findings;
  AddConfiguration(file, status, &findings);
  if (!status.ok()) {
    return findings;
  }

  const absl::Time now = surroundings.clock->WallNow();
  const absl::StatusOr<absl::TimeZone> zone = LoadMachineTimeZone(surroundings.time_zone);
  Connection connection{.address = config.coordinator(),
                        .route = route,
                        .insecure = surroundings.insecure,
                        .files = FilesOf(config.tls()),
                        .tls = {},
                        .identity = {config.federation(), Role::kSite, config.site()}};
  if (surroundings.insecure) {
    CheckInsecure(config.coordinator(), WhereOf(surroundings), &findings);
  } else {
    connection.tls = CheckCertificates(connection.files, connection.identity, now, &findings);
  }
  const bool may_connect = Outcome(findings) == ExitCode::kOk;
  CheckClock(zone, now, &findings);
  CheckData(config.data(), &findings);
  CheckFolder("state folder", config.state_dir(), kNeededDisk, &findings);
  CheckMemory(surroundings.memory(), kNeededByWorker, &findings);
  CheckConsent(config.consent(), &findings);
  CheckSent(config, &findings);
  CheckLimits(config, zone, now, &findings);
  Ok("path", absl::StrCat("to ", connection.address, " ", connection.route.how), &findings);
  if (!may_connect) {
    Warn("coordinator", "not called: the certificate comes first", &findings);
    return findings;
  }
  const absl::StatusOr<Reached> reached = Reach(connection, *surroundings.clock, surroundings.on_interrupt);
  if (!reached.ok()) {
    Fail("coordinator", reached.status(), &findings);
    return findings;
  }
  Ok("coordinator", absl::StrCat(connection.address, " answers and knows this caller"), &findings);
  if (reached->theirs != absl::InfinitePast()) {
    CompareClocks(reached->before, reached->theirs, reached->after, &findings);
  }
  return findings;
}

Findings ExamineCoordinator(const Surroundings& surroundings, const std::string& file) {
  v1::CoordinatorConfig config;
  absl::Status status = LoadYaml(file, &config);
  const std::initializer_list<std::pair<const char*, const std::string*>> addresses = {{"listen", &config.listen()},
                                                                                       {"health_listen", &config.health_listen()},
                                                                                       {"metrics_listen", &config.metrics_listen()},
                                                                                       {"status_listen", &config.status_listen()}};
  for (const auto& [key, address] : addresses) {
    if (!address->empty()) {
      status.Update(CheckAddress(file, key, *address, /*least_port=*/0));
    }
  }
  status.Update(CheckStatusPage(file, config.status_listen()));
  if (status.ok() && !surroundings.insecure && !config.has_tls()) {
    status = MissingTls(file);
  }
  Findings findings;
  AddConfiguration(file, status, &findings);
  if (!status.ok()) {
    return findings;
  }
  const absl::Time now = surroundings.clock->WallNow();
  if (surroundings.insecure) {
    CheckInsecure(config.listen(), WhereOf(surroundings), &findings);
  } else {
    CheckCertificates(FilesOf(config.tls()), {config.federation(), Role::kCoordinator, ""}, now, &findings);
  }
  CheckClock(LoadMachineTimeZone(surroundings.time_zone), now, &findings);
  CheckFolder("data folder", config.data_dir(), kNeededDisk, &findings);
  CheckMemory(surroundings.memory(), kNeededByCoordinator, &findings);
  std::error_code error;
  // A coordinator that serves has its ports, and says so by this file.
  const bool is_running = std::filesystem::exists(std::filesystem::path(config.data_dir()) / "endpoints.json", error);
  for (const auto& [key, address] : addresses) {
    if (!is_running && !address->empty()) {
      CheckListening(key, *address, &findings);
    }
  }
  Ok("coordinator",
     absl::StrCat(is_running ? "running, or killed while it ran (endpoints.json exists), so its ports are not tried" : "not running",
                  "; listens on ", config.listen(), "; ", config.sites_size(), " sites, ", config.operators_size(), " operators"),
     &findings);
  return findings;
}

}  // namespace tributary::doctor
