// `tributary-worker runs` and `export`, as commands: what a site sees of the runs that it takes part in.
#ifndef TRIBUTARY_WORKER_MEMBER_COMMAND_H_
#define TRIBUTARY_WORKER_MEMBER_COMMAND_H_

#include <string>

#include "absl/status/status.h"
#include "common/proxy.h"

namespace CLI {
class App;
}  // namespace CLI

namespace tributary::worker {

struct MemberCommand {
  std::string config;  // worker.yaml
  std::string run;     // id or name
  std::string output;  // of export
  bool best = false;   // likewise: of the best round, not of the newest snapshot
  bool insecure = false;
  bool insecure_anywhere = false;
  bool json = false;
};

// `command` must outlive parsing; so must `format`, which the caller turns into `json`.
CLI::App& AddRunsCommand(CLI::App& app, MemberCommand& command, std::string& format);
CLI::App& AddExportCommand(CLI::App& app, MemberCommand& command, std::string& format);

// Prints the runs of this site, their members, and what of this site is in them. `proxies`: what decides where worker.yaml does not.
// Errors of the configuration, its certificate files and MemberClient.
absl::Status ShowRuns(const MemberCommand& command, const ProxyEnvironment& proxies);
// Writes the model of the run as of its newest snapshot, or of its best round, as safetensors. NotFound besides: no such run of this site.
// DataLoss, exit code kDamaged: what came is not its model.
absl::Status ExportModel(const MemberCommand& command, const ProxyEnvironment& proxies);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_MEMBER_COMMAND_H_
