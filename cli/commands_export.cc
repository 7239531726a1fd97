// `tributary export`: the model after any round, as safetensors.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "common/checksum.h"
#include "common/files.h"
#include "common/format_bytes.h"
#include "common/status_macros.h"
#include "optim/replica_state.h"
#include "optim/snapshot.h"
#include "optim/state_hash.h"
#include "optim/weights_file.h"
#include "proto/config/run_options.h"

namespace tributary::cli {
namespace {

struct ExportOptions {
  std::string run;
  uint64_t round = 0;
  bool has_round = false;
  std::string output;
};

// One line in place, on a terminal alone.
class DownloadDisplay {
 public:
  explicit DownloadDisplay(const Session& session) : session_(session) {}
  ~DownloadDisplay() {
    if (shown_) {
      *session_.environment.err << "\r\x1b[K" << std::flush;
    }
  }
  void Show(uint64_t done, uint64_t total) {
    if (!session_.environment.terminal || total == 0) {
      return;
    }
    shown_ = true;
    *session_.environment.err << "\rdownloading " << FormatBytes(static_cast<double>(done)) << " of "
                              << FormatBytes(static_cast<double>(total)) << absl::StrFormat(" (%d %%)", done * 100 / total) << "\x1b[K"
                              << std::flush;
  }

 private:
  const Session& session_;
  bool shown_ = false;
};

absl::Status Export(const Session& session, const ExportOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus run, client.GetRun(options.run));
  const uint64_t round = options.has_round ? options.round : run.round();
  if (round > run.round()) {
    return absl::NotFoundError(
        absl::StrCat("run ", run.run_id(), " has committed ", run.round(), " rounds, not ", round, "; choose --round 0 to ", run.round()));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ModelSpec model, ModelSpecOf(run.spec()));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Layout layout, optim::MakeLayout(model));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::OptimizerOptions optimizer, OptimizerOptionsOf(run.spec()));
  const int slots = optim::SlotCount(optimizer.mode);

  v1::DownloadRequest request;
  request.set_run_id(run.run_id());
  request.set_state_at_round(round);
  const uint64_t max_bytes = sizeof(float) * static_cast<uint64_t>(layout.size()) * static_cast<uint64_t>(1 + slots) + 65536;
  std::string snapshot;
  {
    DownloadDisplay display(session);
    TRIBUTARY_ASSIGN_OR_RETURN(snapshot,
                               client.Download(request, max_bytes, [&](uint64_t done, uint64_t total) { display.Show(done, total); }));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ReplicaState state, optim::DecodeSnapshot(snapshot, layout, slots));
  const Digest hash = optim::StateHash(layout, state);
  if (state.round != round || (round == run.round() && DigestBytes(hash) != run.state_hash())) {
    return absl::DataLossError(absl::StrCat("the coordinator sent something other than the state after round ", round, " (hash ",
                                            DigestHex(hash),
                                            "); nothing was written. Check its journal: tributary journal verify DATA_DIR"));
  }

  TRIBUTARY_ASSIGN_OR_RETURN(const std::string bytes, optim::EncodeWeights(layout, state.theta, {run.run_id(), round, hash}));
  TRIBUTARY_RETURN_IF_ERROR(WriteOutput(options.output, bytes, *session.environment.out));
  // Beside a model on standard output, nothing else goes there.
  std::ostream& out = IsStandardOutput(options.output) ? *session.environment.err : *session.environment.out;
  if (session.json()) {
    const nlohmann::ordered_json json = {{"output", options.output},      {"run_id", run.run_id()},      {"round", round},
                                         {"state_hash", DigestHex(hash)}, {"parameters", layout.size()}, {"bytes", bytes.size()}};
    out << json.dump() << "\n";
  } else {
    out << options.output << ": run " << run.run_id() << ", round " << round << ", " << layout.size() << " parameters, state hash "
        << DigestHex(hash) << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

void AddExportCommand(CLI::App* app, Session* session) {
  CLI::App* command = app->add_subcommand("export", "Write the model after a round as safetensors");
  const auto options = std::make_shared<ExportOptions>();
  command->add_option("RUN", options->run, "run id or name; a name means its newest run (default: the newest run of all)");
  const CLI::Option* round =
      command->add_option("--round", options->round, "round to export (default: the last committed; 0: the initial weights)");
  command->add_option("--output,-o", options->output, "file to write; - is standard output")->required();
  command->callback([session, options, round] {
    options->has_round = round->count() > 0;
    session->action = [session, options] { return Export(*session, *options); };
  });
}

}  // namespace tributary::cli
