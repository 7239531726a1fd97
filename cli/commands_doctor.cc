// `tributary doctor`: what is wrong, and what to do.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/doctor.h"
#include "cli/output.h"
#include "cli/table.h"
#include "doctor/checks.h"
#include "doctor/examine.h"

namespace tributary::cli {
namespace {

using doctor::Finding;
using doctor::Findings;

doctor::Surroundings SurroundingsOf(const Session& session) {
  const Environment& environment = session.environment;
  doctor::Surroundings surroundings;
  surroundings.clock = environment.clock;
  surroundings.time_zone = environment.time_zone;
  surroundings.proxies = environment.proxies;
  surroundings.on_interrupt = [interrupt = environment.interrupt](std::function<void()> cancel) {
    return std::make_shared<Interrupt::Registration>(interrupt, std::move(cancel));
  };
  surroundings.insecure = session.connection.insecure;
  surroundings.insecure_anywhere = session.connection.insecure_anywhere;
  return surroundings;
}

Findings ExamineOperator(const Session& session, std::optional<v1::ServerInfo>* server) {
  const Environment& environment = session.environment;
  const absl::StatusOr<Connection> connection = ResolveConnection(session.connection);
  if (!connection.ok()) {
    const bool is_credentials = ExitCodeOf(connection.status()) == ExitCode::kCredentials;
    return {{is_credentials ? "certificate" : "configuration", Finding::Result::kFail, std::string(connection.status().message()),
             ExitCodeOf(connection.status())}};
  }
  Findings findings;
  doctor::Ok("configuration", session.connection.config.empty() ? "from the command line" : session.connection.config, &findings);
  if (connection->insecure) {
    doctor::CheckInsecure(connection->address,
                          session.connection.insecure_anywhere ? doctor::InsecureWhere::kAnywhere : doctor::InsecureWhere::kThisMachine,
                          &findings);
  } else {
    doctor::CheckCertificates(connection->files, connection->identity, environment.clock->WallNow(), &findings);
  }
  doctor::Ok("path", absl::StrCat("to ", connection->address, " ", connection->route.how), &findings);
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
    nlohmann::ordered_json json = doctor::FindingsJson(findings);
    if (server.has_value()) {
      json["sites_connected"] = std::vector<std::string>(server->sites_connected().begin(), server->sites_connected().end());
    }
    out << json.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace) << "\n";
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Finding& finding : findings) {
    rows.push_back({doctor::ResultName(finding.result), finding.check, finding.detail});
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
    findings = doctor::ExamineSite(SurroundingsOf(session), worker);
  } else if (!coordinator.empty() && IsFile(coordinator)) {
    findings = doctor::ExamineCoordinator(SurroundingsOf(session), coordinator);
  } else {
    if (!coordinator.empty()) {
      chosen.connection.coordinator = coordinator;
    }
    findings = ExamineOperator(chosen, &server);
  }
  Show(session, findings, server);
  // The lines above have said what is wrong: only the exit code is left to tell.
  return doctor::Outcome(findings) == ExitCode::kOk ? absl::OkStatus()
                                                    : WithExitCode(absl::FailedPreconditionError(""), doctor::Outcome(findings));
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
