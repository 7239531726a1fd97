// `tributary doctor`: what is wrong, and what to do.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/commands.h"
#include "cli/doctor.h"
#include "cli/output.h"
#include "cli/table.h"
#include "common/names.h"
#include "common/status_macros.h"
#include "common/time_zone.h"
#include "proto/config/yaml.h"

namespace tributary::cli {
namespace {

constexpr uint64_t kNeededBytes = uint64_t{256} << 20;
constexpr const char* kResultNames[] = {"ok", "warn", "fail"};

TlsFiles FilesOf(const v1::TlsConfig& tls) {
  return {tls.ca(), tls.certificate(), tls.key()};
}

Finding ConfigurationFinding(const std::string& file, const absl::Status& status) {
  if (status.ok()) {
    return {"configuration", Finding::Result::kOk, file, ExitCode::kOk};
  }
  return {"configuration", Finding::Result::kFail, std::string(status.message()), ExitCodeOf(status)};
}

absl::Status MissingTls(const std::string& file) {
  return WithExitCode(
      absl::InvalidArgumentError(absl::StrCat(file, " has no `tls`; add ca, certificate and key, or use --insecure on loopback")),
      ExitCode::kUsage);
}

absl::Status CheckAddress(const std::string& file, const char* key, const std::string& address, int least_port) {
  return Annotate(CheckHostPort(address, least_port), absl::StrCat(file, ": ", key));
}

Findings ExamineWorker(const Session& session, const std::string& file) {
  const ConnectionFlags& flags = session.connection;
  const Environment& environment = session.environment;
  v1::WorkerConfig config;
  absl::Status status = LoadYaml(file, &config);
  status.Update(CheckAddress(file, "coordinator", config.coordinator(), /*least_port=*/1));
  if (!config.metrics_listen().empty()) {
    status.Update(CheckAddress(file, "metrics_listen", config.metrics_listen(), /*least_port=*/0));
  }
  if (status.ok() && !flags.insecure && !config.has_tls()) {
    status = MissingTls(file);
  }
  Route route;
  if (status.ok()) {
    absl::StatusOr<Route> chosen = ChooseRoute(config.coordinator(), config.proxy(), environment.proxies);
    status = Annotate(chosen.status(), file);
    route = chosen.ok() ? *std::move(chosen) : Route();
  }
  Findings findings = {ConfigurationFinding(file, status)};
  if (!status.ok()) {
    return findings;
  }

  Connection connection{.address = config.coordinator(),
                        .route = route,
                        .insecure = flags.insecure,
                        .files = FilesOf(config.tls()),
                        .tls = {},
                        .identity = {config.federation(), Role::kSite, config.site()}};
  if (flags.insecure) {
    CheckInsecure(config.coordinator(), flags, &findings);
  } else {
    connection.tls = CheckCertificates(connection.files, connection.identity, environment.clock->WallNow(), &findings);
  }
  const bool may_connect = Outcome(findings) == ExitCode::kOk;
  CheckData(config.data(), &findings);
  CheckFolder("state folder", config.state_dir(), kNeededBytes, &findings);
  findings.push_back(
      {"consent", Finding::Result::kOk,
       absl::StrCat("runs ", absl::StrJoin(config.consent().runs(), ", "), "; models ", absl::StrJoin(config.consent().models(), ", "),
                    "; at most ", config.consent().max_local_steps(), " local steps, ", config.consent().max_rounds(), " rounds, ",
                    config.consent().max_parameters(), " parameters"),
       ExitCode::kOk});
  CheckLimits(config, LoadMachineTimeZone(environment.time_zone), environment.clock->WallNow(), &findings);
  CheckPath(connection.address, connection.route, &findings);
  if (may_connect) {
    Client client(connection, environment.interrupt, environment.clock);
    CheckReachable(&client, config.coordinator(), &findings);
  }
  return findings;
}

Findings ExamineCoordinator(const Session& session, const std::string& file) {
  v1::CoordinatorConfig config;
  absl::Status status = LoadYaml(file, &config);
  const std::pair<const char*, const std::string&> addresses[] = {
      {"listen", config.listen()}, {"health_listen", config.health_listen()}, {"metrics_listen", config.metrics_listen()}};
  for (const auto& [key, address] : addresses) {
    if (!address.empty()) {
      status.Update(CheckAddress(file, key, address, /*least_port=*/0));
    }
  }
  if (status.ok() && !session.connection.insecure && !config.has_tls()) {
    status = MissingTls(file);
  }
  Findings findings = {ConfigurationFinding(file, status)};
  if (!status.ok()) {
    return findings;
  }
  if (session.connection.insecure) {
    CheckInsecure(config.listen(), session.connection, &findings);
  } else {
    CheckCertificates(FilesOf(config.tls()), {config.federation(), Role::kCoordinator, ""}, session.environment.clock->WallNow(),
                      &findings);
  }
  CheckFolder("data folder", config.data_dir(), kNeededBytes, &findings);
  std::error_code error;
  const bool is_running = std::filesystem::exists(std::filesystem::path(config.data_dir()) / "endpoints.json", error);
  findings.push_back({"coordinator", Finding::Result::kOk,
                      absl::StrCat(is_running ? "running, or killed while it ran (endpoints.json exists)" : "not running", "; listens on ",
                                   config.listen(), "; ", config.sites_size(), " sites, ", config.operators_size(), " operators"),
                      ExitCode::kOk});
  return findings;
}

Findings ExamineOperator(const Session& session, std::optional<v1::ServerInfo>* server) {
  const Environment& environment = session.environment;
  const absl::StatusOr<Connection> connection = ResolveConnection(session.connection);
  if (!connection.ok()) {
    const bool is_credentials = ExitCodeOf(connection.status()) == ExitCode::kCredentials;
    return {{is_credentials ? "certificate" : "configuration", Finding::Result::kFail, std::string(connection.status().message()),
             ExitCodeOf(connection.status())}};
  }
  Findings findings = {
      ConfigurationFinding(session.connection.config.empty() ? "from the command line" : session.connection.config, absl::OkStatus())};
  if (connection->insecure) {
    CheckInsecure(connection->address, session.connection, &findings);
  } else {
    CheckCertificates(connection->files, connection->identity, environment.clock->WallNow(), &findings);
  }
  CheckPath(connection->address, connection->route, &findings);
  Client client(*connection, environment.interrupt, environment.clock);
  *server = CheckServer(&client, connection->address, *environment.clock, &findings);
  if (server->has_value()) {
    CheckRun(&client, &findings);
  }
  return findings;
}

void Show(const Session& session, const Findings& findings, const std::optional<v1::ServerInfo>& server) {
  std::ostream& out = *session.environment.out;
  if (session.json()) {
    nlohmann::ordered_json checks = nlohmann::ordered_json::array();
    for (const Finding& finding : findings) {
      checks.push_back({{"check", finding.check}, {"result", kResultNames[static_cast<int>(finding.result)]}, {"detail", finding.detail}});
    }
    nlohmann::ordered_json json = {{"ok", Outcome(findings) == ExitCode::kOk}, {"checks", checks}};
    if (server.has_value()) {
      json["sites_connected"] = std::vector<std::string>(server->sites_connected().begin(), server->sites_connected().end());
    }
    out << json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Finding& finding : findings) {
    rows.push_back({kResultNames[static_cast<int>(finding.result)], finding.check, finding.detail});
  }
  out << FormatTable(rows, {session.environment.columns, {}});
}

// --coordinator takes an address everywhere; here also the coordinator's own file.
bool IsFile(const std::string& value) {
  std::error_code error;
  return absl::EndsWith(value, ".yaml") || absl::EndsWith(value, ".yml") || std::filesystem::is_regular_file(value, error);
}

absl::Status Examine(const Session& session, const std::string& worker, const std::string& coordinator) {
  Session chosen = session;
  Findings findings;
  std::optional<v1::ServerInfo> server;
  if (!worker.empty()) {
    findings = ExamineWorker(session, worker);
  } else if (!coordinator.empty() && IsFile(coordinator)) {
    findings = ExamineCoordinator(session, coordinator);
  } else {
    if (!coordinator.empty()) {
      chosen.connection.coordinator = coordinator;
    }
    findings = ExamineOperator(chosen, &server);
  }
  Show(session, findings, server);
  // The lines above have said what is wrong: only the exit code is left to tell.
  return Outcome(findings) == ExitCode::kOk ? absl::OkStatus() : WithExitCode(absl::FailedPreconditionError(""), Outcome(findings));
}

}  // namespace

void AddDoctorCommand(CLI::App* app, Session* session) {
  CLI::App* command =
      app->add_subcommand("doctor", "Check certificates, clocks, reachability, versions, disk and data, and say what to do");
  struct Options {
    std::string worker;
    std::string coordinator;
  };
  const auto options = std::make_shared<Options>();
  CLI::Option* worker = command->add_option("--worker", options->worker, "worker.yaml: check this site");
  command
      ->add_option("--coordinator", options->coordinator,
                   "coordinator.yaml: check the coordinator on its own machine; or HOST:PORT to check as an operator")
      ->excludes(worker);
  command->callback(
      [session, options] { session->action = [session, options] { return Examine(*session, options->worker, options->coordinator); }; });
}

}  // namespace tributary::cli
