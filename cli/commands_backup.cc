// `tributary backup` and `tributary restore`: a coordinator's data folder, copied whole while it works, and put back.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "common/exit_codes.h"
#include "common/format_bytes.h"
#include "common/status_macros.h"
#include "coordinator/backup.h"

namespace tributary::cli {
namespace {

struct CopyOptions {
  std::string from;
  std::string to;
};

using Copy = absl::StatusOr<coordinator::BackedUp> (*)(const std::string& from, const std::string& to,
                                                       const coordinator::CopyProgress& progress);

absl::Status Run(const Session& session, const CopyOptions& options, Copy copy) {
  umask(077);  // updates and models are for this user alone
  const Clock& clock = *session.environment.clock;
  absl::Time told = clock.Now();
  bool telling = false;
  const absl::StatusOr<coordinator::BackedUp> done = copy(options.from, options.to, [&](uint64_t bytes, uint64_t total) {
    if (session.environment.terminal && clock.Now() - told > absl::Milliseconds(500)) {
      told = clock.Now();
      telling = true;
      *session.environment.err << "\rcopied " << FormatBytes(static_cast<double>(bytes)) << " of "
                               << FormatBytes(static_cast<double>(total))
                               << absl::StrFormat(" (%d %%)", total == 0 ? 100 : bytes * 100 / total) << "\x1b[K" << std::flush;
    }
    return session.environment.interrupt->raised() ? WithExitCode(absl::CancelledError("interrupted"), ExitCode::kInterrupted)
                                                   : absl::OkStatus();
  });
  if (telling) {
    *session.environment.err << "\r\x1b[K" << std::flush;
  }
  TRIBUTARY_RETURN_IF_ERROR(done.status());
  if (session.json()) {
    nlohmann::ordered_json json = {{"folder", options.to}, {"bytes", done->bytes}, {"runs", nlohmann::ordered_json::array()}};
    for (const auto& run : done->runs) {
      json["runs"].push_back({{"run_id", run.run_id}, {"state", FormatState(run.state)}, {"round", run.round}});
    }
    *session.environment.out << json.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace) << "\n";
    return absl::OkStatus();
  }
  for (const auto& run : done->runs) {
    *session.environment.out << "run " << run.run_id << ": " << FormatState(run.state) << ", round " << run.round << "\n";
  }
  *session.environment.out << options.to << ": " << FormatBytes(static_cast<double>(done->bytes)) << ", checked\n";
  return absl::OkStatus();
}

}  // namespace

void AddBackupCommands(CLI::App* app, Session* session) {
  const auto add = [app, session](const char* name, const char* help, const char* from, const char* from_help, const char* to,
                                  const char* to_help, Copy copy) {
    CLI::App* command = app->add_subcommand(name, help);
    const auto options = std::make_shared<CopyOptions>();
    command->add_option(from, options->from, from_help)->required();
    command->add_option(to, options->to, to_help)->required();
    command->callback([session, options, copy] { session->action = [session, options, copy] { return Run(*session, *options, copy); }; });
  };
  add("backup", "Copy a coordinator's data folder, also while it works, and check the copy", "DATA_DIR", "data_dir of coordinator.yaml",
      "FOLDER", "where the copy goes: a new or an empty folder", coordinator::BackUpFolder);
  add("restore", "Check a backup and copy it to a new data folder, for a coordinator to continue from", "FOLDER", "a backup", "DATA_DIR",
      "data_dir of coordinator.yaml: a new or an empty folder", coordinator::RestoreFolder);
}

}  // namespace tributary::cli
