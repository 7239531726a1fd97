// The groups of commands. Each function adds its commands to the command line; parsing one stores what is to be done in `session->action`.
#ifndef TRIBUTARY_CLI_COMMANDS_H_
#define TRIBUTARY_CLI_COMMANDS_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "cli/app.h"
#include "cli/client.h"

namespace CLI {
class App;
}  // namespace CLI

namespace tributary::cli {

// Options that all commands share, and the command chosen.
struct Session {
  Environment environment;
  std::string format = "text";  // json, csv (run history alone)
  ConnectionFlags connection;
  std::function<absl::Status()> action;

  bool json() const { return format == "json"; }
};

void AddPkiCommands(CLI::App* app, Session* session);
void AddRunCommands(CLI::App* app, Session* session);
void AddSiteCommands(CLI::App* app, Session* session);
void AddExportCommand(CLI::App* app, Session* session);
void AddModelCommands(CLI::App* app, Session* session);
void AddReportCommands(CLI::App* app, Session* session);
void AddBackupCommands(CLI::App* app, Session* session);
void AddJournalCommands(CLI::App* app, Session* session);
void AddAuditCommands(CLI::App* app, Session* session);
void AddDoctorCommand(CLI::App* app, Session* session);

// A client of the coordinator that the session's flags name.
absl::StatusOr<Client> Connect(const Session& session);

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_COMMANDS_H_
