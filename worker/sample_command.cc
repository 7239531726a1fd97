#include "worker/sample_command.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/cpu_limits.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "optim/model_spec.h"
#include "optim/weights_file.h"
#include "worker/data/utf8.h"
#include "worker/run_file.h"

namespace tributary::worker {
namespace {

constexpr char kOfText[] = "options for text";
constexpr char kOfImages[] = "options for images";

// Refuses what would be silently ignored.
absl::Status CheckNoneOf(const SampleCommand& command, const char* group, absl::string_view makes) {
  for (const CLI::Option* option : command.app->get_options()) {
    if (option->get_group() == group && option->count() > 0) {
      return absl::InvalidArgumentError(absl::StrCat(option->get_name(), " is not for this model, which makes ", makes));
    }
  }
  return absl::OkStatus();
}

absl::Status SampleTextOf(const SampleCommand& command, const LoadedRun& run) {
  TRIBUTARY_RETURN_IF_ERROR(CheckNoneOf(command, kOfImages, "no images"));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<float> theta, optim::ReadWeights(command.model, run.layout));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string text, SampleText(run.model, theta, command.text));
  std::cout << PrintableUtf8(text) << "\n";
  return absl::OkStatus();
}

absl::Status SampleImagesOf(const SampleCommand& command, const LoadedRun& run, const optim::DdpmModel& model) {
  TRIBUTARY_RETURN_IF_ERROR(CheckNoneOf(command, kOfText, "images"));
  if (command.output.empty()) {
    return absl::InvalidArgumentError("--output is missing: the PNG to write the images to");
  }
  SampleImagesOptions options = command.images;
  options.seed = command.text.seed;
  options.threads = UsableCores();
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<float> theta, optim::ReadWeights(command.model, run.layout));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string png, SampleImages(model, theta, options));
  return WriteOutput(command.output, png, std::cout);
}

}  // namespace

CLI::App& AddSampleCommand(CLI::App& app, SampleCommand& command) {
  CLI::App& sample = *app.add_subcommand("sample", "Generate text, or images, from an exported model");
  command.app = &sample;
  sample.add_option("--run", command.run, "run.yaml (default: what the model says of itself)");
  sample.add_option("--model", command.model, "model.safetensors")->required();
  sample.add_option("--seed", command.text.seed, "seeds the choices")->capture_default_str();
  sample.add_option("--prompt", command.text.prompt, "text for the model to continue")->group(kOfText);
  sample.add_option("--bytes", command.text.bytes, "bytes to generate")->capture_default_str()->group(kOfText);
  sample.add_option("--temperature", command.text.temperature, "how freely it chooses; 0: always the likeliest byte")
      ->capture_default_str()
      ->group(kOfText);
  sample.add_option("--output,-o", command.output, "PNG to write; - is standard output")->group(kOfImages);
  sample.add_option("--rows", command.images.rows, "rows of images")->capture_default_str()->group(kOfImages);
  sample.add_option("--columns", command.images.columns, "images in a row")->capture_default_str()->group(kOfImages);
  sample.add_option("--steps", command.images.steps, "from noise to an image: more are slower and finer")
      ->default_str(absl::StrCat(kSampledSteps))
      ->group(kOfImages);
  return sample;
}

absl::Status Sample(const SampleCommand& command) {
  TRIBUTARY_ASSIGN_OR_RETURN(const LoadedRun run, command.run.empty() ? LoadExported(command.model) : LoadRun(command.run));
  const auto* const ddpm = std::get_if<optim::DdpmModel>(&run.model);
  return ddpm != nullptr ? SampleImagesOf(command, run, *ddpm) : SampleTextOf(command, run);
}

}  // namespace tributary::worker
