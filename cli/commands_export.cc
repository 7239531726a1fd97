// `tributary export`: the model after any round, as safetensors, alone or in a folder as Hugging Face's.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/huggingface.h"
#include "cli/model_download.h"
#include "cli/output.h"
#include "common/checksum.h"
#include "common/files.h"
#include "common/format_bytes.h"
#include "common/status_macros.h"
#include "optim/model_spec.h"
#include "optim/weights_file.h"
#include "proto/config/run_options.h"
#include "proto/config/weights_sections.h"
#include "proto/run_curves.h"

namespace tributary::cli {
namespace {

struct ExportOptions {
  std::string run;
  std::optional<uint64_t> round;
  bool best = false;
  std::string output;
  std::string huggingface;  // a folder; one of the two
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

absl::StatusOr<std::optional<uint64_t>> RoundOf(const v1::RunStatus& run, const ExportOptions& options) {
  if (!options.best) {
    return options.round;
  }
  if (!run.has_best_round()) {
    const std::string judge = JudgedBy(run.spec()) == kLossName ? "its validation loss" : JudgedBy(run.spec());
    return absl::NotFoundError(absl::StrCat("run ", run.run_id(), " has no best round: no site has reported ", judge, " yet"));
  }
  return run.best_round();
}

// Writes what `transformers` loads the model from; other files of the folder stay, as those of a tokenizer.
absl::Status WriteFolder(const std::string& folder, const optim::LlamaModel& model, absl::string_view weights) {
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(folder));
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(folder, "/model.safetensors"), weights));
  return WriteFileAtomically(absl::StrCat(folder, "/config.json"), HuggingFaceConfig(model));
}

absl::Status Export(const Session& session, const ExportOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus run, client.GetRun(options.run));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<uint64_t> round, RoundOf(run, options));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ModelSpec model, ModelSpecOf(run.spec()));
  const auto* const llama = std::get_if<optim::LlamaModel>(&model);
  if (!options.huggingface.empty() && llama == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("run ", run.run_id(), " trains a ", ModelKindOf(run.spec().model()), "; --huggingface is for llama: use --output"));
  }
  absl::StatusOr<DownloadedModel> downloaded;
  {
    DownloadDisplay display(session);
    downloaded = DownloadModel(&client, run, round, [&](uint64_t done, uint64_t total) { display.Show(done, total); });
  }
  TRIBUTARY_RETURN_IF_ERROR(downloaded.status());
  const auto& [layout, state, hash] = *downloaded;

  TRIBUTARY_ASSIGN_OR_RETURN(const std::string bytes,
                             optim::EncodeWeights(layout, state.theta, {run.run_id(), state.round, hash, WeightsSectionsOf(run.spec())}));
  const std::string& output = options.huggingface.empty() ? options.output : options.huggingface;
  TRIBUTARY_RETURN_IF_ERROR(options.huggingface.empty() ? WriteOutput(output, bytes, *session.environment.out)
                                                        : WriteFolder(output, *llama, bytes));
  // Beside a model on standard output, nothing else goes there.
  std::ostream& out = IsStandardOutput(options.output) ? *session.environment.err : *session.environment.out;
  if (session.json()) {
    nlohmann::ordered_json json = {{"output", output},
                                   {"run_id", run.run_id()},
                                   {"round", state.round},
                                   {"state_hash", DigestHex(hash)},
                                   {"parameters", layout.size()},
                                   {"bytes", bytes.size()}};
    if (options.best) {
      json["best"] = {{"name", run.best().name()}, {"value", run.best().value()}};
    }
    out << json.dump() << "\n";
  } else {
    const std::string best =
        options.best ? absl::StrCat(", the best (", run.best().name(), " ", FormatMetric(run.best().value()), ")") : "";
    out << output << ": run " << run.run_id() << ", round " << state.round << best << ", " << layout.size() << " parameters, state hash "
        << DigestHex(hash) << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

void AddExportCommand(CLI::App* app, Session* session) {
  CLI::App* command = app->add_subcommand("export", "Write the model after a round as safetensors");
  const auto options = std::make_shared<ExportOptions>();
  command->add_option("RUN", options->run, "run id or name; a name means its newest run (default: the newest run of all)");
  command->add_option("--round", options->round, "round to export (default: the last committed; 0: the initial weights)");
  command
      ->add_flag("--best", options->best,
                 "export the best of the evaluated rounds, by stop_when.metric of the run, else by the validation loss")
      ->excludes("--round");
  CLI::Option_group* to = command->add_option_group("to");
  to->add_option("--output,-o", options->output, "file to write; - is standard output");
  to->add_option("--huggingface", options->huggingface, "folder in which to write it as `transformers` loads it (llama)");
  to->require_option(1);
  command->callback([session, options] { session->action = [session, options] { return Export(*session, *options); }; });
}

}  // namespace tributary::cli
