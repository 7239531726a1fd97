#include "sim/recording.h"

#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "google/protobuf/util/json_util.h"
#include "proto/config/yaml.h"
#include "sim/simulation.h"

namespace tributary::sim {
namespace {

constexpr int kSites = 2;

v1::CoordinatorConfig ConfigOf(uint64_t max_inline) {
  v1::CoordinatorConfig config;
  config.set_federation("sim");
  config.set_data_dir("disk");
  config.mutable_lease()->set_seconds(30);
  config.mutable_snapshots()->set_every(2);
  config.mutable_snapshots()->set_keep(1);
  config.mutable_snapshots()->set_log(uint64_t{256} << 20);
  config.mutable_snapshots()->mutable_replay()->set_seconds(10);
  config.set_max_inline(max_inline);
  config.set_max_update(uint64_t{1} << 30);
  config.mutable_drain_timeout()->set_seconds(10);
  config.add_operators("alice");
  for (int i = 0; i < kSites; ++i) {
    config.add_sites(absl::StrCat("site-", i));
  }
  return config;
}

absl::StatusOr<Scenario> ScenarioOf(const std::string& optimizer, uint64_t max_inline, absl::Duration kill_at) {
  Scenario scenario;
  scenario.seed = 1;
  scenario.workers = kSites;
  scenario.coordinator = ConfigOf(max_inline);
  TRIBUTARY_RETURN_IF_ERROR(ParseYaml(absl::StrCat("name: toy\nrounds: 6\nmodel: {mlp: {inputs: 2, hidden: [4], outputs: 2}}\n"
                                                   "data: {kind: csv, label_column: label}\noptimizer: {learning_rate: {peak: 0.01}, ",
                                                   optimizer,
                                                   "}\nevaluation: {every: 3}\nparticipation: {min_workers: 2, quorum: 1, "
                                                   "min_deadline: 2s, max_deadline: 20s, wait_timeout: 20m}\n"),
                                      "run.yaml", &scenario.runs.emplace_back()));
  // Both happen to the faster site, when its update of a round is in and the other's is not: nobody's work is cut short.
  scenario.incidents = {{absl::Seconds(2), Incident::Kind::kBrokenSession, 0}, {kill_at, Incident::Kind::kWorkerKill, 0}};
  return scenario;
}

absl::Status RecordScenario(const Scenario& scenario, const std::string& folder) {
  std::map<std::string, std::string> lines;
  Simulation simulation(scenario);
  simulation.world().recording = &lines;
  const Outcome outcome = simulation.Run();
  if (outcome.violation.has_value() || outcome.hashes.size() != 1 || outcome.states[0] != v1::FINISHED) {
    return absl::InternalError(absl::StrCat("the run to be recorded did not finish well: ",
                                            outcome.violation.has_value() ? outcome.violation->detail : outcome.status.reason()));
  }
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  for (const auto& [party, said] : lines) {
    v1::WorkerConfig site;
    site.set_site(party);
    const std::string config = party == "coordinator" ? RecordedJson(scenario.coordinator) : RecordedJson(site);
    TRIBUTARY_RETURN_IF_ERROR(
        WriteFileAtomically(absl::StrCat(folder, "/", party, ".conversation"),
                            absl::StrCat("config ", config, "\n", said, "hash ", absl::BytesToHexString(outcome.hashes[0]), "\n")));
  }
  return absl::OkStatus();
}

}  // namespace

std::string RecordedJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto printed = google::protobuf::util::MessageToJsonString(message, &json, options);
  return printed.ok() ? json : printed.ToString();
}

std::string CodeName(const absl::Status& status) {
  return absl::StatusCodeToString(status.code());
}

absl::Status RecordConversations(const std::string& folder) {
  TRIBUTARY_ASSIGN_OR_RETURN(const Scenario sparse, ScenarioOf("mode: distro, k: 1024", uint64_t{256} << 10, absl::Milliseconds(5350)));
  TRIBUTARY_RETURN_IF_ERROR(RecordScenario(sparse, absl::StrCat(folder, "/distro")));
  TRIBUTARY_ASSIGN_OR_RETURN(const Scenario dense, ScenarioOf("mode: allreduce", 64, absl::Milliseconds(4150)));
  return RecordScenario(dense, absl::StrCat(folder, "/allreduce"));
}

}  // namespace tributary::sim
