#include "worker/predict_command.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/cpu_limits.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "optim/layout.h"
#include "optim/weights_file.h"
#include "proto/config/run_options.h"
#include "proto/config/weights_sections.h"
#include "proto/config/yaml.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/run.pb.h"
#include "worker/data/data_source.h"
#include "worker/evaluation.h"
#include "worker/predict.h"
#include "worker/table_config.h"
#include "worker/trainer.h"

namespace tributary::worker {
namespace {

// Those of the run, or else of this site's training rows, as when it trained.
absl::StatusOr<TableStatistics> StatisticsOf(const PredictCommand& command, const v1::RunSpec& run, const TableSchema& schema,
                                             const optim::ModelSpec& model, const v1::WorkerConfig& config) {
  if (const std::optional<TableStatistics> stated = StatedStatistics(schema); stated.has_value()) {
    return *stated;
  }
  if (command.config.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        command.model, ": its run standardised numbers with the statistics of each site, which the file does not carry: name a ",
        "site's with --config worker.yaml, and they are computed from its training rows (a run whose columns say mean and ",
        "deviation needs none)"));
  }
  TrainerOptions options;
  options.model = model;
  TRIBUTARY_ASSIGN_OR_RETURN(options.data_kind, DataKindOf(run.data()));
  TRIBUTARY_ASSIGN_OR_RETURN(options.table, TableOptionsOf(run.data(), config.csv()));
  options.batch_size = run.data().batch_size();
  options.validation_fraction = run.data().validation_fraction();
  options.evaluation_batches = 1;
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<DataSource> data, OpenData(options, config.data()));
  std::cerr << "statistics of " << data->description().text << "\n";
  return data->Table()->statistics;
}

}  // namespace

CLI::App& AddPredictCommand(CLI::App& app, PredictCommand& command) {
  CLI::App& added = *app.add_subcommand("predict", "Predict the label of each row of a table with an exported model");
  added.add_option("--model", command.model, "model.safetensors, from a run with data.columns")->required();
  added.add_option("--data", command.data, "csv file; it needs no label")->required();
  added.add_option("--config", command.config, "worker.yaml, for its section csv and, where the run says no statistics, those of its data");
  added.add_option("--output,-o", command.output, "file to write; - is standard output")->capture_default_str();
  return added;
}

absl::Status PredictRows(const PredictCommand& command) {
  TRIBUTARY_ASSIGN_OR_RETURN(const auto metadata, optim::ReadWeightsMetadata(command.model));
  absl::StatusOr<v1::RunSpec> run = RunOfWeights(metadata);
  if (!run.ok()) {
    return Annotate(run.status(), command.model);
  }
  if (run->data().columns().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(command.model, ": its run names no columns (data.columns), and nothing says what a row ", "must hold"));
  }
  v1::WorkerConfig config;
  if (!command.config.empty()) {
    TRIBUTARY_RETURN_IF_ERROR(LoadYaml(command.config, &config));
  }
  PredictOptions options;
  TRIBUTARY_ASSIGN_OR_RETURN(options.model, ModelSpecOf(*run));
  options.schema = TableSchemaOf(run->data());
  TRIBUTARY_ASSIGN_OR_RETURN(options.format, CsvFormatOf(config.csv()));
  options.threads = UsableCores();
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Layout layout, optim::MakeLayout(options.model));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<float> theta, optim::ReadWeights(command.model, layout));
  TRIBUTARY_ASSIGN_OR_RETURN(options.statistics, StatisticsOf(command, *run, options.schema, options.model, config));
  TRIBUTARY_ASSIGN_OR_RETURN(const Predictions predictions, Predict(options, theta, command.data));
  TRIBUTARY_RETURN_IF_ERROR(WriteOutput(command.output, predictions.csv, std::cout));
  std::cerr << predictions.rows << " rows, " << predictions.left_out << " of them left out, as the run does\n";
  return absl::OkStatus();
}

}  // namespace tributary::worker
