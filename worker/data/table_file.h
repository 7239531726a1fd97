// One csv file, read by the schema of a run.
#ifndef TRIBUTARY_WORKER_DATA_TABLE_FILE_H_
#define TRIBUTARY_WORKER_DATA_TABLE_FILE_H_

#include <cstdint>
#include <map>
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

  // Finds the schema's columns in the header of `reader`, by their names and aliases. What the site renames goes by its new name alone, as
  // far as the run has that name. `coding` must outlive the file. DataError with file and line: a column is there twice, or one of the file
  // is two of the run's; or, with a refusal (worker/refusal.h), is not there.
  static absl::StatusOr<TableFile> Open(CsvReader reader, const TableCoding* coding, Labels labels);

  // The next row; false: there is none. Errors of CsvReader, after which there are no rows. A row with a gap that drops it is left out,
  // whatever else it holds. `row.problem` is a DataError with file, line and column: a field that is no number; or, with a refusal, a value
  // that is missing, unknown or out of its bounds where the schema refuses it. The refusal is the same for all of these: one that told
  // column and bound would let the run's operator close in on a single value.
  absl::StatusOr<bool> Next(TableRow& row);

  const CsvReader& reader() const { return reader_; }
  std::optional<char> decimal() const { return numbers_.decimal(); }
  // Columns of the file that the schema does not name, in their order.
  const std::vector<std::string>& left_out() const { return left_out_; }

 private:
  TableFile(CsvReader reader, const TableCoding* coding)
      : reader_(std::move(reader)), coding_(coding), numbers_(coding->format.decimal, reader_.separator()) {}

  // Of the names that the run may know, where each stands in the file.
  using Places = std::map<absl::string_view, std::vector<size_t>>;

  absl::Status Bind(Labels labels);
  Places PlacesByName() const;
  // `Spec`: TableColumn or TableLabel.
  template <typename Spec>
  absl::StatusOr<size_t> Find(const Spec& spec, absl::string_view key, const Places& places) const;
  // Marks `place` as that of the run's column `name`.
  absl::Status Take(size_t place, const std::string& name, std::vector<const std::string*>& taken) const;
  bool LeavesOut(size_t place, MissingPolicy missing, TableRow& row) const;
  absl::Status Refuse(absl::string_view message) const;
  absl::Status ReadRow(TableRow& row);
  absl::Status ReadCell(size_t column, TableRow& row);
  absl::Status ReadLabel(TableRow& row);
  absl::Status ReadHeaderLabel(const std::string& field, TableRow& row);
  absl::Status ReadNumber(absl::string_view column, const std::string& field, double& value);
  absl::Status RefuseGap(absl::string_view column, const std::string& field, absl::string_view key) const;

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
