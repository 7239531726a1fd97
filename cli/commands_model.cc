// `tributary model`: models of others, made ready for runs.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "cli/commands.h"
#include "cli/huggingface.h"
#include "cli/output.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "optim/model_spec.h"
#include "proto/config/run_options.h"

namespace tributary::cli {
namespace {

struct ImportOptions {
  std::string folder;
  std::string output;
  uint32_t context = 512;
};

// The parts of a run file that follow from the model, which is as ToJson has it.
std::string RunFilePart(const nlohmann::ordered_json& model) {
  const nlohmann::ordered_json& llama = model.at("llama");
  std::string text = "model:\n  llama:\n";
  for (const auto& [key, value] : llama.items()) {
    absl::StrAppend(&text, "    ", key, ": ", value.dump(), "\n");
  }
  absl::StrAppend(&text, "  initial_weights: ", model.at("initial_weights").dump(), "\ndata:\n  kind: tokens\n");
  if (llama.at("vocab_size") > 65536) {
    absl::StrAppend(&text, "  token_bytes: 4\n");
  }
  return text;
}

absl::Status FromHuggingFace(const Session& session, const ImportOptions& options) {
  v1::RunSpec run;
  v1::LlamaSpec& llama = *run.mutable_model()->mutable_llama();
  TRIBUTARY_ASSIGN_OR_RETURN(llama, ReadHuggingFaceConfig(options.folder, options.context));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::ModelSpec spec, ModelSpecOf(run));
  const auto& model = std::get<optim::LlamaModel>(spec);
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Layout layout, optim::MakeLayout(model));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string weights, ReadHuggingFaceWeights(options.folder, model));
  TRIBUTARY_RETURN_IF_ERROR(WriteOutput(options.output, weights, *session.environment.out));
  // Beside a model on standard output, nothing else goes there.
  const bool piped = IsStandardOutput(options.output);
  std::ostream& out = piped ? *session.environment.err : *session.environment.out;
  run.mutable_model()->set_initial_weights(piped ? "model.safetensors" : std::filesystem::path(options.output).filename().string());
  const auto shown = nlohmann::ordered_json::parse(ToJson(run.model()));
  if (session.json()) {
    const nlohmann::ordered_json json = {
        {"output", options.output}, {"parameters", layout.size()}, {"bytes", weights.size()}, {"model", shown}};
    out << json.dump() << "\n";
  } else {
    out << "# " << options.output << ": " << layout.size() << " parameters, for the coordinator's initial_weights_dir\n"
        << RunFilePart(shown);
  }
  return absl::OkStatus();
}

}  // namespace

void AddModelCommands(CLI::App* app, Session* session) {
  CLI::App* model = app->add_subcommand("model", "Make models of others ready for runs");
  model->require_subcommand(1);
  CLI::App* command =
      model->add_subcommand("from-huggingface", "Read a folder of `transformers` (Llama): its weights, and the run file's model");
  const auto options = std::make_shared<ImportOptions>();
  command->add_option("FOLDER", options->folder, "folder with config.json and model.safetensors, in one file or in shards")->required();
  command->add_option("--output,-o", options->output, "file to write, for the coordinator's initial_weights_dir; - is standard output")
      ->required();
  command->add_option("--context", options->context, "tokens of context to train with, at most the model's")
      ->check(CLI::Range(2u, 1048576u))
      ->capture_default_str();
  command->footer(
      "Prints the sections `model` and `data` of the run file.\n\n"
      "Example:\n"
      "  tributary model from-huggingface SmolLM2-135M --output smollm2.safetensors > run.yaml\n");
  command->callback([session, options] { session->action = [session, options] { return FromHuggingFace(*session, *options); }; });
}

}  // namespace tributary::cli
