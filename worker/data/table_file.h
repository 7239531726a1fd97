// One csv file, read by the schema of a run.
#ifndef TRIBUTARY_WORKER_DATA_TABLE_FILE_H_
#define TRIBUTARY_WORKER_DATA_TABLE_FILE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/data/csv_reader.h"
#include "worker/data/table_coding.h"

namespace tributary::worker {

struct TableRow {
  std::vector<float> cells;  // as in TableRows
  int64_t label_class = 0;
  float label_value = 0;
  // Why the row is left out, and then nothing else of it counts: "no value in column 'age'". Empty: it is in.
  std::string left_out;
  // Not OK: the run refuses the row (TableFile::Next).
  absl::Status problem;
};

// Not thread-safe.
class TableFile {
 public:
  enum class Labels { kRead, kIgnored };

  // Finds the schema's columns in the header of `reader`, by their names, their aliases, and what the site renames. `coding` must outlive
  // the file. DataError with file and line, and with a refusal (worker/refusal.h) where it is the run that does not fit: a column that is
  // not there, or there twice.
  static absl::StatusOr<TableFile> Open(CsvReader reader, const TableCoding* coding, Labels labels);

  // The next row; false: there is none. Errors of CsvReader, after which there are no rows. `row.problem` is a DataError with file, line
  // and column: a field that is no number; or, with a refusal, a value that is missing, unknown or out of its bounds where the schema
  // refuses it.
  absl::StatusOr<bool> Next(TableRow& row);

  const CsvReader& reader() const { return reader_; }
  std::optional<char> decimal() const { return numbers_.decimal(); }
  // Columns of the file that the schema does not name, in their order.
  const std::vector<std::string>& left_out() const { return left_out_; }

 private:
  TableFile(CsvReader reader, const TableCoding* coding)
      : reader_(std::move(reader)), coding_(coding), numbers_(coding->format.decimal, reader_.separator()) {}

  absl::Status Bind(Labels labels);
  absl::StatusOr<size_t> Find(const std::string& name, const std::vector<std::string>& aliases, absl::string_view key,
                              MissingPolicy missing);
  absl::Status ReadRow(TableRow& row);
  absl::Status ReadCell(size_t column, TableRow& row);
  absl::Status ReadLabel(TableRow& row);
  absl::Status ReadHeaderLabel(const std::string& field, TableRow& row);
  absl::Status ReadNumber(absl::string_view column, const std::string& field, double& value);
  absl::Status WithoutValue(absl::string_view column, const std::string& field, MissingPolicy missing, absl::string_view key,
                            TableRow& row);

  CsvReader reader_;
  const TableCoding* coding_;
  NumberReader numbers_;
  std::vector<size_t> places_;  // of the schema's columns in the file
  std::optional<size_t> label_place_;
  std::vector<std::string> left_out_;
  std::vector<std::string> fields_;  // of the newest row
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_TABLE_FILE_H_
