#include "worker/data/table_file.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/data/utf8.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

std::string ColumnsOf(const std::vector<std::string>& header) {
  return PrintableUtf8(absl::StrJoin(header, ", ").substr(0, 400));
}

}  // namespace

absl::StatusOr<TableFile> TableFile::Open(CsvReader reader, const TableCoding* coding, Labels labels) {
  TableFile file(std::move(reader), coding);
  TRIBUTARY_RETURN_IF_ERROR(file.Bind(labels));
  return file;
}

absl::Status TableFile::Bind(Labels labels) {
  const TableSchema& schema = coding_->schema;
  for (const TableColumn& column : schema.columns) {
    TRIBUTARY_ASSIGN_OR_RETURN(const size_t place, Find(column.name, column.aliases, "data.columns", column.missing));
    places_.push_back(place);
  }
  if (labels == Labels::kRead) {
    const absl::string_view key = coding_->origin == TableCoding::Origin::kRun ? "data.label" : "data.label_column";
    TRIBUTARY_ASSIGN_OR_RETURN(label_place_, Find(schema.label.name, schema.label.aliases, key, MissingPolicy::kRefuse));
  }
  for (size_t i = 0; i < reader_.header().size(); ++i) {
    if (label_place_ != i && std::find(places_.begin(), places_.end(), i) == places_.end()) {
      left_out_.push_back(reader_.header()[i]);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> TableFile::Find(const std::string& name, const std::vector<std::string>& aliases, absl::string_view key,
                                       MissingPolicy missing) {
  std::vector<std::string> names = aliases;
  names.push_back(name);
  for (const CsvFormat::Rename& rename : coding_->format.rename) {
    if (rename.ours == name) {
      names.push_back(rename.theirs);
    }
  }
  const std::vector<std::string>& header = reader_.header();
  std::optional<size_t> found;
  for (size_t i = 0; i < header.size(); ++i) {
    if (std::find(names.begin(), names.end(), header[i]) == names.end()) {
      continue;
    }
    if (found.has_value()) {
      return reader_.Error(absl::StrCat("columns ", Quoted(header[*found]), " and ", Quoted(header[i]), " are both ", Quoted(name),
                                        " of the run (", key, "): rename the one that is not, or leave it out"));
    }
    found = i;
  }
  if (found.has_value()) {
    return *found;
  }
  std::string here = absl::StrCat("; the columns are: ", ColumnsOf(header), " (separated by: ", SeparatorName(reader_.separator()), ")");
  if (coding_->origin == TableCoding::Origin::kRun) {
    absl::StrAppend(&here, "; if this site calls it otherwise, say so in worker.yaml: csv: {rename: [\"THEIRS=", PrintableUtf8(name),
                    "\"]}");
    if (missing == MissingPolicy::kMean || missing == MissingPolicy::kFlag) {
      absl::StrAppend(&here, "; if it has no such values, add an empty column of that name");
    }
  }
  return reader_.Misfit(absl::StrCat("no column ", Quoted(name), " (the run's ", key, ")"), here);
}

absl::StatusOr<bool> TableFile::Next(TableRow& row) {
  TRIBUTARY_ASSIGN_OR_RETURN(const bool more, reader_.Next(fields_));
  row.cells.clear();
  row.left_out.clear();
  row.problem = more ? ReadRow(row) : absl::OkStatus();
  return more;
}

absl::Status TableFile::ReadRow(TableRow& row) {
  for (size_t c = 0; c < places_.size() && row.left_out.empty(); ++c) {
    TRIBUTARY_RETURN_IF_ERROR(ReadCell(c, row));
  }
  if (label_place_.has_value() && row.left_out.empty()) {
    TRIBUTARY_RETURN_IF_ERROR(ReadLabel(row));
  }
  return absl::OkStatus();
}

absl::Status TableFile::ReadNumber(absl::string_view column, const std::string& field, double& value) {
  const std::string problem = numbers_.Read(field, reader_.line(), value);
  return problem.empty() ? absl::OkStatus() : reader_.Error(absl::StrCat("column ", Quoted(column), ": ", problem));
}

absl::Status TableFile::WithoutValue(absl::string_view column, const std::string& field, MissingPolicy missing, absl::string_view key,
                                     TableRow& row) {
  switch (missing) {
    case MissingPolicy::kDrop:
      row.left_out = absl::StrCat("no value in column ", Quoted(column));
      return absl::OkStatus();
    case MissingPolicy::kMean:
    case MissingPolicy::kFlag:
      row.cells.push_back(std::numeric_limits<float>::quiet_NaN());
      return absl::OkStatus();
    case MissingPolicy::kRefuse:
      break;
  }
  const std::string what = field.empty() ? "an empty field" : absl::StrCat(Quoted(field), " (csv.missing in worker.yaml)");
  if (coding_->origin == TableCoding::Origin::kHeader) {
    return reader_.Error(absl::StrCat("column ", Quoted(column), ": ", what));
  }
  return WithRefusal(reader_.Error(absl::StrCat("column ", Quoted(column), ": ", what, ", which the run refuses (", key,
                                                ": missing: refuse): fill it in, or take the row out")),
                     absl::StrCat("a row without a value in column ", Quoted(column), " (the run's ", key, ": missing: refuse)"));
}

absl::Status TableFile::ReadCell(size_t c, TableRow& row) {
  const TableColumn& column = coding_->schema.columns[c];
  const std::string& field = fields_[places_[c]];
  const std::string& here = reader_.header()[places_[c]];
  if (coding_->missing.contains(field)) {
    return WithoutValue(here, field, column.missing, "data.columns", row);
  }
  if (column.kind == TableColumn::Kind::kCategory) {
    const std::optional<int64_t> found = coding_->categories[c].Find(field);
    if (!found.has_value() && !column.other) {
      return reader_.Misfit(
          absl::StrCat("a value of column ", Quoted(column.name), " that the run's data.columns does not name"),
          absl::StrCat(": column ", Quoted(here), " holds ", Quoted(field), "; the run has ", coding_->categories[c].Words(),
                       ": write it as one of these, or have the run take others (other: ", "true)"));
    }
    row.cells.push_back(static_cast<float>(found.value_or(static_cast<int64_t>(column.values.size()))));
    return absl::OkStatus();
  }
  double value = 0;
  TRIBUTARY_RETURN_IF_ERROR(ReadNumber(here, field, value));
  const bool low = column.min.has_value() && value < *column.min;
  if (low || (column.max.has_value() && value > *column.max)) {
    const std::string unit = column.unit.empty() ? "" : absl::StrCat(" ", Quoted(column.unit));
    return reader_.Misfit(absl::StrCat("a value of column ", Quoted(column.name), low ? " below the run's min, " : " above the run's max, ",
                                       low ? *column.min : *column.max, unit, " (data.columns)"),
                          absl::StrCat(": column ", Quoted(here), " holds ", Quoted(field), ": if it is in another unit, convert the ",
                                       "column; if it is a slip of the pen, correct it or empty the field"));
  }
  row.cells.push_back(static_cast<float>(value));
  return absl::OkStatus();
}

absl::Status TableFile::ReadLabel(TableRow& row) {
  const TableLabel& label = coding_->schema.label;
  const std::string& field = fields_[*label_place_];
  const std::string& here = reader_.header()[*label_place_];
  if (coding_->missing.contains(field)) {
    return WithoutValue(here, field, label.missing, "data.label", row);
  }
  if (coding_->origin == TableCoding::Origin::kHeader && coding_->outputs > 0) {
    return ReadHeaderLabel(field, row);
  }
  if (label.classes.empty()) {
    double value = 0;
    TRIBUTARY_RETURN_IF_ERROR(ReadNumber(here, field, value));
    row.label_value = static_cast<float>(value);
    return absl::OkStatus();
  }
  const std::optional<int64_t> found = coding_->classes.Find(field);
  if (!found.has_value()) {
    return reader_.Misfit(absl::StrCat("a label that the run's data.label does not name"),
                          absl::StrCat(": column ", Quoted(here), " holds ", Quoted(field), "; the run has ", coding_->classes.Words(),
                                       ": write it as one of these, or empty the field (data.label says what becomes of such rows)"));
  }
  row.label_class = *found;
  return absl::OkStatus();
}

absl::Status TableFile::ReadHeaderLabel(const std::string& field, TableRow& row) {
  double value = 0;
  TRIBUTARY_RETURN_IF_ERROR(ReadNumber(coding_->schema.label.name, field, value));
  if (value != std::floor(value) || value < 0 || value >= static_cast<double>(coding_->outputs)) {
    const std::string range =
        absl::StrCat(" is not an integer from 0 to ", coding_->outputs - 1, " (the run's model.mlp.outputs is ", coding_->outputs, ")");
    return WithRefusal(reader_.Error(absl::StrCat("label ", Quoted(field), range)), absl::StrCat("a label", range));
  }
  row.label_class = static_cast<int64_t>(value);
  return absl::OkStatus();
}

}  // namespace tributary::worker
