#include "cli/app.h"

#include <google/protobuf/stubs/common.h>
#include <grpcpp/grpcpp.h>
#include <openssl/crypto.h>

#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "common/command_line.h"
#include "common/completion.h"
#include "common/excerpt.h"
#include "common/status_macros.h"
#include "proto/protocol_version.h"

namespace tributary::cli {
namespace {

void AddSharedOptions(CLI::App* app, Session* session) {
  app->add_option("--format", session->format, "output format: text or json; `run history` also takes csv")
      ->check(CLI::IsMember({"text", "json", "csv"}))
      ->capture_default_str();
  ConnectionFlags& connection = session->connection;
  const std::string group = "Connection";
  app->add_option("--config", connection.config, "operator.yaml (default: TRIBUTARY_CONFIG in the environment)")->group(group);
  app->add_option("--coordinator", connection.coordinator, "HOST:PORT of the coordinator")->group(group);
  app->add_option("--ca", connection.tls.ca, "CA certificate of the federation (PEM)")->group(group);
  app->add_option("--cert", connection.tls.certificate, "this operator's certificate (PEM)")->group(group);
  app->add_option("--key", connection.tls.key, "its key (PEM)")->group(group);
  app->add_option("--proxy", connection.proxy, "HTTP proxy on the way to the coordinator: http://[USER[:PASSWORD]@]HOST:PORT, or none")
      ->group(group);
  app->add_flag("--insecure", connection.insecure, "no TLS; loopback only, for trials on one machine")->group(group);
  app->add_flag("--insecure-anywhere", connection.insecure_anywhere, "with --insecure: allow any address")->group(group);
  app->add_option("--federation", connection.federation, "with --insecure: name of the federation")->group(group);
  app->add_option("--name", connection.name, "with --insecure: name of this operator")->group(group);
}

// What this program was made with and runs with.
std::map<std::string, std::string> BuildFacts() {
  return {{"compiler", __VERSION__},
          {"grpc", grpc::Version()},
          {"openssl", OpenSSL_version(OPENSSL_VERSION_STRING)},
          {"protobuf", google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION)}};
}

void AddVersionCommand(CLI::App* app, Session* session) {
  app->add_subcommand("version", "Print the versions of this program and its protocol")->callback([session] {
    session->action = [session] {
      if (session->json()) {
        const nlohmann::ordered_json json = {{"version", TRIBUTARY_VERSION},
                                             {"protocol_version", kOldestProtocolVersion},
                                             {"newest_protocol_version", kNewestProtocolVersion},
                                             {"build", BuildFacts()}};
        *session->environment.out << json.dump() << "\n";
      } else {
        *session->environment.out << VersionText("tributary", FormatProtocol({})) << "\n";
        for (const auto& [what, version] : BuildFacts()) {
          *session->environment.out << what << " " << version << "\n";
        }
      }
      return absl::OkStatus();
    };
  });
}

void AddCompletionCommand(CLI::App* app, Session* session) {
  CLI::App* completion = app->add_subcommand("completion", "Print a script that completes this command in a shell");
  completion->require_subcommand(1);
  const auto add = [&](const char* name, Shell shell, const std::string& how) {
    completion->add_subcommand(name, absl::StrCat("For ", name, ": ", how))->callback([app, session, shell] {
      session->action = [app, session, shell] {
        *session->environment.out << CompletionScript(*app, shell);
        return absl::OkStatus();
      };
    });
  };
  add("bash", Shell::kBash, "source <(tributary completion bash)");
  add("zsh", Shell::kZsh, "source <(tributary completion zsh), after compinit");
}

// What --help lists, by what people come for.
void GroupCommands(CLI::App* app) {
  const std::pair<const char*, std::vector<const char*>> groups[] = {
      {"Runs", {"run", "export", "model", "report", "compare"}},
      {"Sites", {"site"}},
      {"The coordinator's data", {"journal", "audit", "backup", "restore"}},
      {"Setting up", {"pki", "doctor", "completion", "version"}},
  };
  for (const auto& [group, commands] : groups) {
    for (const char* command : commands) {
      app->get_subcommand(command)->group(group);
    }
  }
}

ExitCode Tell(const absl::Status& status, const Session& session) {
  const ExitCode code = ExitCodeOf(status);
  // A run that failed and a doctor who found something have told so already.
  if (status.message().empty()) {
    return code;
  }
  if (session.json()) {
    const nlohmann::ordered_json json = {{"error", std::string(status.message())}, {"exit_code", static_cast<int>(code)}};
    *session.environment.err << json.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace) << "\n";
  } else {
    *session.environment.err << "tributary: " << Escaped(status.message(), LineBreaks::kKeep) << "\n";
  }
  return code;
}

// How a command that ended with `status` ends the program. What it printed must have arrived.
ExitCode Report(const absl::Status& status, const Session& session) {
  const bool interrupted = session.environment.interrupt->raised();
  if (const absl::Status flushed = session.environment.flush ? session.environment.flush() : absl::OkStatus(); !flushed.ok()) {
    const ExitCode code = Tell(flushed, session);
    return status.ok() || interrupted ? code : Tell(status, session);
  }
  if (interrupted) {
    return ExitCodeOf(status) == ExitCode::kReaderGone ? ExitCode::kReaderGone : ExitCode::kInterrupted;
  }
  return Tell(status, session);
}

}  // namespace

absl::StatusOr<Client> Connect(const Session& session) {
  TRIBUTARY_ASSIGN_OR_RETURN(const Connection connection, ResolveConnection(session.connection));
  if (connection.insecure) {
    *session.environment.err << "tributary: warning: --insecure: nothing is encrypted and nobody is authenticated\n";
  }
  return Client(connection, session.environment.interrupt, session.environment.clock);
}

ExitCode RunTributary(const std::vector<std::string>& arguments, const Environment& environment) {
  Session session{.environment = environment, .connection = {}, .action = {}};
  session.connection.config = environment.config;
  session.connection.proxies = environment.proxies;
  CLI::App app("Operates a federation that trains one model across institutions: runs, exports, certificates, checks.", "tributary");
  app.set_version_flag("--version", VersionText("tributary", FormatProtocol({})));
  app.require_subcommand(1);
  app.fallthrough();  // shared options may follow the command
  AddSharedOptions(&app, &session);
  AddRunCommands(&app, &session);
  AddSiteCommands(&app, &session);
  AddExportCommand(&app, &session);
  AddModelCommands(&app, &session);
  AddReportCommands(&app, &session);
  AddJournalCommands(&app, &session);
  AddBackupCommands(&app, &session);
  AddAuditCommands(&app, &session);
  AddPkiCommands(&app, &session);
  AddDoctorCommand(&app, &session);
  AddVersionCommand(&app, &session);
  AddCompletionCommand(&app, &session);
  GroupCommands(&app);
  app.footer(
      "Examples:\n"
      "  export TRIBUTARY_CONFIG=operator.yaml        who calls, and where; or --config with every command\n"
      "  tributary doctor                             is the federation reachable and in order?\n"
      "  tributary run submit run.yaml                queue a run\n"
      "  tributary run watch bible                    follow it to its end\n"
      "  tributary report bible --output bible.html   its curves as a page\n"
      "  tributary export bible --output m.safetensors\n"
      "                                               the model\n");
  if (const auto end = ParseCommandLine(&app, arguments, *environment.out, *environment.err); end.has_value()) {
    return *end == ExitCode::kOk ? Report(absl::OkStatus(), session) : *end;
  }
  if (session.format == "csv" && !app.got_subcommand("run")) {
    return Report(absl::InvalidArgumentError("--format csv is for `run history` only; use text or json"), session);
  }
  return Report(session.action(), session);
}

}  // namespace tributary::cli
