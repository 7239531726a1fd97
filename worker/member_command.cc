#include "worker/member_command.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/certificate_files.h"
#include "common/channel.h"
#include "common/checksum.h"
#include "common/excerpt.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "optim/replica_state.h"
#include "optim/snapshot.h"
#include "optim/state_hash.h"
#include "optim/weights_file.h"
#include "proto/config/run_options.h"
#include "proto/config/weights_sections.h"
#include "proto/config/yaml.h"
#include "tributary/v1/config.pb.h"
#include "worker/kept_secret.h"
#include "worker/session_client_member.h"
#include "worker/start_options.h"
#include "worker/worker_setup.h"

namespace tributary::worker {
namespace {

// Of a snapshot, what is not parameters: generously.
constexpr uint64_t kSnapshotFraming = 65536;

absl::StatusOr<MemberClient> ClientOf(const MemberCommand& command, const ProxyEnvironment& proxies, v1::WorkerConfig& config) {
  TRIBUTARY_RETURN_IF_ERROR(LoadYaml(command.config, &config));
  Connection connection;
  connection.address = config.coordinator();
  connection.insecure = command.insecure;
  connection.identity = IdentityOf(config);
  TRIBUTARY_RETURN_IF_ERROR(CheckConnection(config, command.config, {command.insecure, command.insecure_anywhere}));
  if (!command.insecure) {
    connection.files = FilesOf(config.tls());
    TRIBUTARY_ASSIGN_OR_RETURN(connection.tls, LoadCertificatePair(connection.files, connection.identity));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(connection.route, ChooseRoute(config.coordinator(), config.proxy(), proxies));
  return MemberClient(std::move(connection), ReadKeptSecret(config.state_dir()));
}

std::string StateOf(const v1::OwnRun& run) {
  return absl::AsciiStrToLower(v1::RunState_Name(run.state()));
}

// What a coordinator says is shown, and commands no terminal.
std::vector<std::string> MembersOf(const v1::OwnRun& run) {
  std::vector<std::string> members;
  for (const std::string& member : run.members()) {
    members.push_back(Excerpt(member));
  }
  return members;
}

void Print(const nlohmann::ordered_json& json) {
  std::cout << json.dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace) << "\n";
}

CLI::App& AddCommand(CLI::App& app, const char* name, const char* what, MemberCommand& command, std::string& format) {
  CLI::App& added = *app.add_subcommand(name, what);
  added.add_option("--config", command.config, "worker.yaml")->required();
  added.add_flag("--insecure", command.insecure, "no TLS; loopback only, for trials on one machine");
  added.add_flag("--insecure-anywhere", command.insecure_anywhere, "with --insecure: allow any address");
  added.add_option("--format", format, "output format: text or json")->capture_default_str()->check(CLI::IsMember({"text", "json"}));
  return added;
}

// Sites get the best round alone. If that is another by now, it is fetched, and `run` says so.
absl::StatusOr<std::string> FetchBest(MemberClient& client, v1::OwnRun& run, uint64_t max_bytes) {
  constexpr int kMostAsked = 10;
  for (int asked = 1;; ++asked) {
    absl::StatusOr<std::string> snapshot = client.Snapshot(run.run_id(), run.best_round(), max_bytes);
    if (!absl::IsFailedPrecondition(snapshot.status()) || asked == kMostAsked) {
      return snapshot;
    }
    TRIBUTARY_ASSIGN_OR_RETURN(const v1::ListOwnRunsResponse own, client.ListOwnRuns(run.run_id()));
    if (own.runs().empty() || !own.runs(0).has_best_round() || own.runs(0).best_round() == run.best_round()) {
      return snapshot;
    }
    run.set_best_round(own.runs(0).best_round());
    *run.mutable_best() = own.runs(0).best();
    run.set_round(own.runs(0).round());
    run.set_state_hash(own.runs(0).state_hash());
  }
}

}  // namespace

CLI::App& AddRunsCommand(CLI::App& app, MemberCommand& command, std::string& format) {
  return AddCommand(app, "runs", "Show this site's runs: where they stand, who is in them, and how many updates of this site", command,
                    format);
}

CLI::App& AddExportCommand(CLI::App& app, MemberCommand& command, std::string& format) {
  CLI::App& added =
      AddCommand(app, "export", "Write a model that this site helped to train as safetensors, as of its newest snapshot", command, format);
  added.add_option("--run", command.run, "run id, or name: its newest run")->required();
  added.add_option("--output,-o", command.output, "file to write")->required();
  added.add_flag("--best", command.best,
                 "write the best evaluated round instead, by stop_when.metric of the run (else by its validation loss)");
  return added;
}

absl::Status ShowRuns(const MemberCommand& command, const ProxyEnvironment& proxies) {
  v1::WorkerConfig config;
  TRIBUTARY_ASSIGN_OR_RETURN(MemberClient client, ClientOf(command, proxies, config));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::ListOwnRunsResponse own, client.ListOwnRuns(""));
  if (command.json) {
    nlohmann::ordered_json json = {{"site", config.site()}, {"runs", nlohmann::ordered_json::array()}};
    for (const v1::OwnRun& run : own.runs()) {
      json["runs"].push_back({{"run_id", Excerpt(run.run_id())},
                              {"state", StateOf(run)},
                              {"reason", Excerpt(run.reason())},
                              {"round", run.round()},
                              {"rounds", run.spec().rounds()},
                              {"state_hash", absl::BytesToHexString(run.state_hash())},
                              {"members", MembersOf(run)},
                              {"updates_included", run.updates_included()},
                              {"updates_late", run.updates_late()},
                              {"updates_rejected", run.updates_rejected()}});
    }
    Print(json);
    return absl::OkStatus();
  }
  if (own.runs().empty()) {
    std::cout << "no run takes this site\n";
  }
  for (const v1::OwnRun& run : own.runs()) {
    std::cout << Excerpt(run.run_id()) << "  " << StateOf(run) << ", round " << run.round() << " of " << run.spec().rounds()
              << (run.reason().empty() ? "" : absl::StrCat(": ", Excerpt(run.reason()))) << "\n"
              << "  members    " << (run.members().empty() ? "none yet" : absl::StrJoin(MembersOf(run), ", ")) << "\n"
              << "  this site  " << run.updates_included() << " updates in the model, " << run.updates_late() << " late, "
              << run.updates_rejected() << " rejected\n";
  }
  return absl::OkStatus();
}

absl::Status ExportModel(const MemberCommand& command, const ProxyEnvironment& proxies) {
  v1::WorkerConfig config;
  TRIBUTARY_ASSIGN_OR_RETURN(MemberClient client, ClientOf(command, proxies, config));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::ListOwnRunsResponse own, client.ListOwnRuns(command.run));
  if (own.runs().empty()) {
    return absl::NotFoundError(absl::StrCat("no run ", command.run, " takes this site: tributary-worker runs lists those that do"));
  }
  v1::OwnRun run = own.runs(0);
  TRIBUTARY_RETURN_IF_ERROR(Annotate(ValidateRunSpec(run.spec()), "the coordinator's run"));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ModelSpec model, ModelSpecOf(run.spec()));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Layout layout, optim::MakeLayout(model));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::OptimizerOptions optimizer, OptimizerOptionsOf(run.spec()));
  const auto parameters = static_cast<uint64_t>(layout.size());
  if (parameters > config.consent().max_parameters()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the run's model has ", parameters, " parameters, and this site consents to ", config.consent().max_parameters()));
  }
  const int slots = optim::SlotCount(optimizer.mode);
  const uint64_t max_bytes = sizeof(float) * parameters * static_cast<uint64_t>(1 + slots) + kSnapshotFraming;
  if (command.best && !run.has_best_round()) {
    return absl::NotFoundError(absl::StrCat("run ", Excerpt(run.run_id()), " has no best round: it has not been evaluated yet"));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string snapshot,
                             command.best ? FetchBest(client, run, max_bytes) : client.Snapshot(run.run_id(), std::nullopt, max_bytes));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ReplicaState state, optim::DecodeSnapshot(snapshot, layout, slots));
  const Digest hash = optim::StateHash(layout, state);
  const bool other_round = command.best && state.round != run.best_round();
  if (other_round || (state.round == run.round() && DigestBytes(hash) != run.state_hash())) {
    return WithExitCode(absl::DataLossError(absl::StrCat("the coordinator sent something other than the state after round ", state.round,
                                                         " (hash ", DigestHex(hash), "); nothing was written")),
                        ExitCode::kDamaged);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string bytes,
                             optim::EncodeWeights(layout, state.theta, {run.run_id(), state.round, hash, WeightsSectionsOf(run.spec())}));
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(command.output, bytes));
  if (command.json) {
    nlohmann::ordered_json json = {{"output", command.output},      {"run_id", Excerpt(run.run_id())}, {"round", state.round},
                                   {"state_hash", DigestHex(hash)}, {"parameters", layout.size()},     {"bytes", bytes.size()}};
    if (command.best) {
      json["best"] = {{"name", Excerpt(run.best().name())}, {"value", run.best().value()}};
    }
    Print(json);
    return absl::OkStatus();
  }
  std::cout << command.output << ": run " << Excerpt(run.run_id()) << ", round " << state.round << " of " << run.spec().rounds()
            << (command.best ? absl::StrFormat(", the best (%s %.4g)", Excerpt(run.best().name()), run.best().value()) : "") << ", "
            << layout.size() << " parameters, state hash " << DigestHex(hash) << "\n";
  return absl::OkStatus();
}

}  // namespace tributary::worker
