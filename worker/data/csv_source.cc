#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/bytes.h"
#include "common/checksum.h"
#include "common/format_bytes.h"
#include "common/status_macros.h"
#include "worker/data/csv_reader.h"
#include "worker/data/data_source.h"
#include "worker/data/folder.h"
#include "worker/data/spacing.h"
#include "worker/data/table_coding.h"
#include "worker/data/table_file.h"
#include "worker/data/table_rows.h"
#include "worker/data/table_text.h"
#include "worker/data/utf8.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

constexpr size_t kMaxNamed = 10;

// Both splits, and what is known of them.
struct Tables {
  TableCoding coding;
  TableRows training;
  TableRows validation;
  std::vector<TableReport::File> files;
  std::map<std::string, uint64_t> rows_left_out;  // by reason
};

// How much each class counts in the loss; empty: all the same.
std::vector<float> WeightsOf(const TableLabel& label) {
  std::vector<float> weights;
  bool differ = false;
  for (const TableClass& one : label.classes) {
    weights.push_back(static_cast<float>(one.weight));
    differ = differ || one.weight != label.classes.front().weight;
  }
  return differ ? weights : std::vector<float>();
}

class CsvSource final : public DataSource {
 public:
  CsvSource(Tables tables, const DataOptions& options, DataDescription description)
      : tables_(std::move(tables)),
        statistics_(ComputeStatistics(schema(), tables_.training)),
        inputs_(InputsOf(schema())),
        class_weights_(WeightsOf(schema().label)),
        spacing_(tables_.validation.rows(), options.evaluation_batches, options.batch_size),
        description_(std::move(description)) {}

  Batch DrawTraining(CounterRng& rng, uint32_t rows) const override {
    Batch batch = Reserve(rows);
    for (uint32_t i = 0; i < rows; ++i) {
      Append(tables_.training, rng.Below(tables_.training.rows()), batch);
    }
    return batch;
  }

  uint64_t training_samples() const override { return tables_.training.rows(); }

  const DataDescription& description() const override { return description_; }

  uint32_t validation_batches() const override { return spacing_.batches(); }

  Batch Validation(uint32_t index) const override {
    const uint32_t rows = spacing_.RowsOf(index);
    Batch batch = Reserve(rows);
    for (uint32_t i = 0; i < rows; ++i) {
      Append(tables_.validation, spacing_.Place(index, i), batch);
    }
    return batch;
  }

  std::vector<uint64_t> TrainingTargetCounts() const override {
    std::vector<uint64_t> counts(classes(), 0);
    for (const int64_t label : tables_.training.classes) {
      ++counts[static_cast<size_t>(label)];
    }
    return counts;
  }

  double value_scale() const override { return classes() == 0 ? statistics_.label.deviation : 1; }

  std::optional<TableReport> Table() const override {
    TableReport report;
    report.files = tables_.files;
    for (const auto& [why, rows] : tables_.rows_left_out) {
      report.rows_left_out.push_back({why, rows});
    }
    report.schema = schema();
    report.statistics = statistics_;
    report.training_rows = tables_.training.rows();
    report.validation_rows = tables_.validation.rows();
    std::vector<std::string> names;
    for (size_t i = 0; i < classes(); ++i) {
      names.push_back(schema().label.classes.empty() ? absl::StrCat(i) : schema().label.classes[i].name);
    }
    CountValues(tables_.training, tables_.validation, names, report);
    return report;
  }

 private:
  const TableSchema& schema() const { return tables_.coding.schema; }

  // 0: the label is a number.
  size_t classes() const {
    return tables_.coding.origin == TableCoding::Origin::kHeader ? static_cast<size_t>(tables_.coding.outputs)
                                                                 : schema().label.classes.size();
  }

  Batch Reserve(uint32_t rows) const {
    Batch batch;
    batch.rows = rows;
    batch.features.reserve(rows * inputs_);
    (classes() > 0 ? batch.targets.reserve(rows) : batch.values.reserve(rows));
    return batch;
  }

  void Append(const TableRows& rows, uint64_t row, Batch& batch) const {
    const size_t width = schema().columns.size();
    AppendInputs(schema(), statistics_, absl::MakeConstSpan(rows.cells).subspan(row * width, width), batch.features);
    if (classes() == 0) {
      batch.values.push_back(Standardised(rows.values[row], statistics_.label));
      return;
    }
    batch.targets.push_back(rows.classes[row]);
    if (!class_weights_.empty()) {
      batch.weights.push_back(class_weights_[static_cast<size_t>(rows.classes[row])]);
    }
  }

  const Tables tables_;
  const TableStatistics statistics_;
  const size_t inputs_;
  const std::vector<float> class_weights_;
  const EvenSpacing spacing_;
  const DataDescription description_;
};

// Reads files one after another.
class Collector {
 public:
  Collector(const DataOptions& options, const TableOptions& table) : options_(options), table_(table) {
    if (table.schema.has_value()) {
      tables_.coding = MakeCoding(*table.schema, table.format);
    }
  }

  absl::Status ReadFile(const std::string& path, uint64_t& budget) {
    const uint64_t before = budget;
    TRIBUTARY_ASSIGN_OR_RETURN(const DecodedText text,
                               ReadTableText(path, table_.format, table_.schema.has_value() ? Utf8::kChecked : Utf8::kAsItIs, budget));
    bytes_ += before - budget;
    TRIBUTARY_ASSIGN_OR_RETURN(CsvReader reader, OpenReader(path, text.text));
    if (!table_.schema.has_value()) {
      TRIBUTARY_RETURN_IF_ERROR(SetHeader(reader, path));
    }
    TRIBUTARY_ASSIGN_OR_RETURN(TableFile file, TableFile::Open(std::move(reader), &tables_.coding, TableFile::Labels::kRead));
    TableReport::File& report = tables_.files.emplace_back();
    report.path = path;
    report.encoding = text.encoding;
    report.separator = file.reader().separator();
    report.left_out = file.left_out();
    TableRow row;
    while (true) {
      TRIBUTARY_ASSIGN_OR_RETURN(const bool more, file.Next(row));
      if (!more) {
        break;
      }
      ++report.rows;
      if (row.problem.ok()) {
        Add(row);
      } else {
        TRIBUTARY_RETURN_IF_ERROR(Note(row.problem));
      }
    }
    report.decimal = file.decimal();
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<DataSource>> Finish(const DataFiles& found) {
    TRIBUTARY_RETURN_IF_ERROR(problem_);
    const uint64_t training = tables_.training.rows();
    const uint64_t validation = tables_.validation.rows();
    if (training == 0 || validation == 0) {
      return WithRefusal(DataError(absl::StrCat("data folder ", options_.folder, ": too few rows: ", row_, " with validation_fraction ",
                                                options_.validation_fraction, " leave ", training, " for training and ", validation,
                                                " for validation: add rows", RowsLeftOut())),
                         absl::StrCat("too few rows for the run's data.validation_fraction, ", options_.validation_fraction));
    }
    const size_t files = tables_.files.size();
    const size_t columns = tables_.coding.schema.columns.size();
    DataDescription description{
        absl::StrCat(files, files == 1 ? " file, " : " files, ", FormatBytes(static_cast<double>(bytes_)), ", ", row_, " rows (", training,
                     " for training, ", validation, " for validation), ", columns, columns == 1 ? " column" : " columns",
                     " besides the label", RowsLeftOut(), ColumnsLeftOut(), DescribeLeftOut(found)),
        ColumnsDigest()};
    return std::make_unique<CsvSource>(std::move(tables_), options_, std::move(description));
  }

 private:
  absl::StatusOr<CsvReader> OpenReader(const std::string& path, absl::string_view text) const {
    const std::optional<char> separator = table_.format.separator;
    if (table_.schema.has_value()) {
      return CsvReader::Open(path, text, separator, CsvReader::QuotedBlanks::kStripped);
    }
    // Release 0.1 knew no separator but the comma, and took quoted names as they are, also for the digest of the columns.
    absl::StatusOr<CsvReader> reader = CsvReader::Open(path, text, separator.value_or(','));
    const bool found = reader.ok() && absl::c_linear_search(reader->header(), table_.label_column);
    return found || separator.has_value() ? std::move(reader) : CsvReader::Open(path, text, std::nullopt);
  }

  // Without a schema: of the first file it makes one, and the others must have the same.
  absl::Status SetHeader(const CsvReader& reader, const std::string& path) {
    const std::vector<std::string>& header = reader.header();
    if (!header_.empty()) {
      return header == header_ ? absl::OkStatus()
                               : reader.Error(absl::StrCat("the header differs from that of ", tables_.files.front().path,
                                                           ": all files need the same columns in the same order"));
    }
    TableSchema schema;
    schema.standardise = table_.standardise;
    schema.label.name = table_.label_column;
    std::map<absl::string_view, size_t> places;
    for (const std::string& name : header) {
      if (!places.emplace(name, 0).second) {
        return reader.Error(absl::StrCat("column ", Quoted(name), " appears twice"));
      }
      if (name != table_.label_column) {
        schema.columns.push_back({.name = name});
      }
    }
    if (schema.columns.size() < header.size() && static_cast<int64_t>(schema.columns.size()) != table_.inputs) {
      return reader.Misfit(absl::StrCat(schema.columns.size(), " columns besides the label, but the run's model takes ", table_.inputs,
                                        " (model.mlp.inputs)"));
    }
    header_ = header;
    tables_.coding = MakeCoding(std::move(schema), table_.format);
    tables_.coding.format.rename.clear();
    tables_.coding.origin = TableCoding::Origin::kHeader;
    tables_.coding.outputs = table_.outputs;
    return absl::OkStatus();
  }

  // Reading goes on where somebody wants to know of more than the first.
  absl::Status Note(const absl::Status& problem) {
    if (table_.problems == nullptr || table_.problems->size() == kMaxProblems) {
      return problem_.ok() ? problem : problem_;
    }
    table_.problems->emplace_back(problem.message());
    problem_.Update(problem);
    return absl::OkStatus();
  }

  void Add(const TableRow& row) {
    if (!row.left_out.empty()) {
      ++tables_.rows_left_out[row.left_out];
      return;
    }
    const bool held_out = IsHeldOut(row_, options_.validation_fraction);
    TableRows& rows = held_out ? tables_.validation : tables_.training;
    rows.cells.insert(rows.cells.end(), row.cells.begin(), row.cells.end());
    if (tables_.coding.schema.label.classes.empty() && tables_.coding.outputs == 0) {
      rows.values.push_back(row.label_value);
    } else {
      rows.classes.push_back(row.label_class);
    }
    ++row_;
  }

  std::string RowsLeftOut() const {
    uint64_t rows = 0;
    for (const auto& [why, count] : tables_.rows_left_out) {
      rows += count;
    }
    return rows == 0 ? "" : absl::StrCat("; ", rows, " rows left out (tributary-worker data check says why)");
  }

  // Of all files.
  std::string ColumnsLeftOut() const {
    std::map<absl::string_view, int> names;
    for (const TableReport::File& file : tables_.files) {
      for (const std::string& name : file.left_out) {
        names.emplace(name, 0);
      }
    }
    std::vector<absl::string_view> shown;
    for (const auto& [name, unused] : names) {
      if (shown.size() < kMaxNamed) {
        shown.push_back(name);
      }
    }
    const size_t more = names.size() - shown.size();
    return names.empty() ? ""
                         : absl::StrCat("; columns left out: ", PrintableUtf8(absl::StrJoin(shown, ", ")),
                                        more > 0 ? absl::StrCat(" and ", more, " more") : "");
  }

  // Of the names in their order, each after its length; where the label stands does not matter. With a schema the run says them.
  std::string ColumnsDigest() const {
    std::string names = "tributary columns 1\n";
    for (const TableColumn& column : tables_.coding.schema.columns) {
      AppendLittleEndian(static_cast<uint32_t>(column.name.size()), names);
      names.append(column.name);
    }
    return DigestBytes(Sha256(names));
  }

  const DataOptions& options_;
  const TableOptions& table_;
  absl::Status problem_;  // the first
  std::vector<std::string> header_;
  uint64_t row_ = 0;
  uint64_t bytes_ = 0;
  Tables tables_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> MakeCsvSource(const DataOptions& options, const TableOptions& table) {
  TRIBUTARY_ASSIGN_OR_RETURN(const DataFiles found, ListDataFiles(options.folder, ".csv"));
  Collector collector(options, table);
  uint64_t budget = kMaxDataBytes;
  for (const std::string& file : found.files) {
    TRIBUTARY_RETURN_IF_ERROR(collector.ReadFile(file, budget));
  }
  return collector.Finish(found);
}

}  // namespace tributary::worker
