#include "worker/data_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "proto/config/run_options.h"
#include "proto/config/yaml.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/run.pb.h"
#include "worker/data/csv_reader.h"
#include "worker/data/data_source.h"
#include "worker/data/describe_table.h"
#include "worker/data/folder.h"
#include "worker/evaluation.h"
#include "worker/table_config.h"
#include "worker/training_run.h"

namespace tributary::worker {
namespace {

using Json = nlohmann::ordered_json;

void Print(const Json& json) {
  std::cout << json.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
}

Json CountsJson(const std::vector<TableReport::Count>& counts) {
  Json json = Json::object();
  for (const TableReport::Count& count : counts) {
    json[count.what] = count.rows;
  }
  return json;
}

Json ColumnJson(const TableReport::Column& column, bool number, const Scale& scale) {
  if (!number) {
    return {{"kind", "category"}, {"missing", column.missing}, {"values", CountsJson(column.values)}};
  }
  return {{"kind", "number"},
          {"missing", column.missing},
          {"mean", scale.mean},
          {"deviation", scale.deviation},
          {"least", column.least.has_value() ? Json(*column.least) : Json()},
          {"most", column.most.has_value() ? Json(*column.most) : Json()}};
}

Json FileJson(const TableReport::File& file) {
  return {{"path", file.path},
          {"rows", file.rows},
          {"encoding", NameOf(file.encoding)},
          {"separator", SeparatorName(file.separator)},
          {"decimal", !file.decimal.has_value() ? Json() : Json(*file.decimal == ',' ? "comma" : "point")},
          {"columns_left_out", file.left_out}};
}

Json TableJson(const TableReport& table) {
  Json files = Json::array();
  for (const TableReport::File& file : table.files) {
    files.push_back(FileJson(file));
  }
  Json columns = Json::array();
  for (size_t c = 0; c < table.columns.size(); ++c) {
    const TableColumn& column = table.schema.columns[c];
    Json json = {{"name", column.name}, {"unit", column.unit}};
    json.update(ColumnJson(table.columns[c], column.kind == TableColumn::Kind::kNumber, table.statistics.columns[c]));
    columns.push_back(std::move(json));
  }
  Json label = {{"name", table.schema.label.name}, {"unit", table.schema.label.unit}};
  label.update(ColumnJson(table.label, table.label.values.empty(), table.statistics.label));
  return {{"files", std::move(files)},          {"rows_left_out", CountsJson(table.rows_left_out)},
          {"inputs", InputNames(table.schema)}, {"columns", std::move(columns)},
          {"label", std::move(label)},          {"validation_rows", table.validation_rows}};
}

// `status`: with what reading ended.
void PrintProblems(std::vector<std::string> problems, const absl::Status& status, bool json) {
  if (json) {
    if (std::find(problems.begin(), problems.end(), status.message()) == problems.end()) {
      problems.emplace_back(status.message());
    }
    Print({{"problems", problems}});
    return;
  }
  for (const std::string& problem : problems) {
    std::cout << problem << "\n";
  }
  if (problems.size() == kMaxProblems) {
    std::cout << "and maybe more: reading ended at the " << kMaxProblems << "th\n";
  }
}

absl::Status Check(const DataCommand& command) {
  v1::WorkerConfig config;
  TRIBUTARY_RETURN_IF_ERROR(LoadYaml(command.config, &config));
  v1::RunSpec run;
  TRIBUTARY_RETURN_IF_ERROR(LoadYaml(command.run, &run));
  TRIBUTARY_RETURN_IF_ERROR(Annotate(ValidateRunSpec(run), command.run));
  TRIBUTARY_ASSIGN_OR_RETURN(TrainerOptions options, TrainerOptionsOf(run, config));
  std::vector<std::string> problems;
  options.table.problems = &problems;
  absl::StatusOr<std::unique_ptr<DataSource>> opened = OpenData(options, options.data_folder);
  if (!opened.ok()) {
    PrintProblems(problems, opened.status(), command.json);
    return opened.status();
  }
  const std::unique_ptr<DataSource> data = *std::move(opened);
  const std::optional<TableReport> table = data->Table();
  if (!command.json) {
    std::cout << data->description().text << "\n" << (table.has_value() ? TableReportText(*table) : "");
    return absl::OkStatus();
  }
  Json json = {{"read", data->description().text}, {"training_samples", data->training_samples()}};
  if (table.has_value()) {
    json.update(TableJson(*table));
  }
  Print(json);
  return absl::OkStatus();
}

absl::Status Describe(const DataCommand& command) {
  v1::WorkerConfig config;
  if (!command.config.empty()) {
    TRIBUTARY_RETURN_IF_ERROR(LoadYaml(command.config, &config));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const CsvFormat format, CsvFormatOf(config.csv()));
  std::vector<std::string> files = {command.path};
  std::error_code error;
  if (std::filesystem::is_directory(command.path, error)) {
    TRIBUTARY_ASSIGN_OR_RETURN(DataFiles found, ListDataFiles(command.path, ".csv"));
    files = std::move(found.files);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string proposal, DescribeTable(files, format, command.label));
  std::cout << proposal;
  return absl::OkStatus();
}

}  // namespace

CLI::App& AddDataCommand(CLI::App& app, DataCommand& command, std::string& format) {
  CLI::App& data = *app.add_subcommand("data", "Show what a run would read of this site's data, or what a run could say of them");
  data.require_subcommand(1);
  CLI::App& check =
      *data.add_subcommand("check", "Read the data as a run would: what was read, what was left out and why, what the model sees");
  check.add_option("--config", command.config, "worker.yaml")->required();
  check.add_option("--run", command.run, "run.yaml")->required();
  check.add_option("--format", format, "output format: text or json")->capture_default_str()->check(CLI::IsMember({"text", "json"}));
  check.callback([&command] { command.what = DataCommand::What::kCheck; });
  CLI::App& describe = *data.add_subcommand("describe", "Propose the columns of a run from this site's csv files");
  describe.add_option("PATH", command.path, "a csv file, or a folder of them")->required();
  describe.add_option("--label", command.label, "column to predict (default: the last one)");
  describe.add_option("--config", command.config, "worker.yaml, for its section csv");
  describe.callback([&command] { command.what = DataCommand::What::kDescribe; });
  return data;
}

absl::Status RunDataCommand(const DataCommand& command) {
  return command.what == DataCommand::What::kCheck ? Check(command) : Describe(command);
}

}  // namespace tributary::worker
