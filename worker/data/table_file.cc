#include "worker/data/table_file.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>
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
  const std::vector<std::string>& header = reader_.header();
  const Places places = PlacesByName();
  std::vector<const std::string*> taken(header.size());
  for (const TableColumn& column : schema.columns) {
    TRIBUTARY_ASSIGN_OR_RETURN(const size_t place, Find(column, "data.columns", places));
    TRIBUTARY_RETURN_IF_ERROR(Take(place, column.name, taken));
    places_.push_back(place);
  }
  if (labels == Labels::kRead) {
    const absl::string_view key = coding_->origin == TableCoding::Origin::kRun ? "data.label" : "data.label_column";
    TRIBUTARY_ASSIGN_OR_RETURN(label_place_, Find(schema.label, key, places));
    TRIBUTARY_RETURN_IF_ERROR(Take(*label_place_, schema.label.name, taken));
  }
  for (size_t i = 0; i < header.size(); ++i) {
    if (taken[i] == nullptr) {
      left_out_.push_back(header[i]);
    }
  }
  return absl::OkStatus();
}

TableFile::Places TableFile::PlacesByName() const {
  std::set<absl::string_view> known;
  const auto know = [&](const auto& spec) {
    known.insert(spec.name);
    known.insert(spec.aliases.begin(), spec.aliases.end());
  };
  std::for_each(coding_->schema.columns.begin(), coding_->schema.columns.end(), know);
  know(coding_->schema.label);
  std::map<absl::string_view, std::set<absl::string_view>> renamed;
  for (const CsvFormat::Rename& rename : coding_->format.rename) {
    if (known.count(rename.ours) > 0) {
      renamed[rename.theirs].insert(rename.ours);
    }
  }
  Places places;
  const std::vector<std::string>& header = reader_.header();
  for (size_t i = 0; i < header.size(); ++i) {
    const auto names = renamed.find(header[i]);
    for (const absl::string_view name : names == renamed.end() ? std::set<absl::string_view>{header[i]} : names->second) {
      places[name].push_back(i);
    }
  }
  return places;
}

template <typename Spec>
absl::StatusOr<size_t> TableFile::Find(const Spec& spec, absl::string_view key, const Places& places) const {
  std::vector<std::string> names = spec.aliases;
  names.push_back(spec.name);
  std::set<size_t> found;
  for (const std::string& name : names) {
    if (const auto at = places.find(name); at != places.end()) {
      found.insert(at->second.begin(), at->second.end());
    }
  }
  const std::vector<std::string>& header = reader_.header();
  if (found.size() > 1) {
    return reader_.Error(absl::StrCat("columns ", Quoted(header[*found.begin()]), " and ", Quoted(header[*std::next(found.begin())]),
                                      " are both ", Quoted(spec.name), " of the run (", key, "): rename the one that is not, or leave it ",
                                      "out"));
  }
  if (found.size() == 1) {
    return *found.begin();
  }
  std::string here = absl::StrCat("; the columns are: ", ColumnsOf(header), " (separated by: ", SeparatorName(reader_.separator()),
                                  ", unless csv.separator in worker.yaml says otherwise)");
  if (std::find(header.begin(), header.end(), spec.name) != header.end()) {
    absl::StrAppend(&here, "; csv.rename in worker.yaml gives that one another name");
  } else if (coding_->origin == TableCoding::Origin::kRun) {
    absl::StrAppend(&here, "; if this site calls it otherwise, say so in worker.yaml: csv: {rename: [\"THEIRS=", PrintableUtf8(spec.name),
                    "\"]}");
    if (spec.missing == MissingPolicy::kMean || spec.missing == MissingPolicy::kFlag) {
      absl::StrAppend(&here, "; if it has no such values, add an empty column of that name");
    }
  }
  return reader_.Misfit(absl::StrCat("no column ", Quoted(spec.name), " (the run's ", key, ")"), here);
}

absl::Status TableFile::Take(size_t place, const std::string& name, std::vector<const std::string*>& taken) const {
  if (taken[place] != nullptr) {
    return reader_.Error(absl::StrCat("column ", Quoted(reader_.header()[place]), " is both ", Quoted(*taken[place]), " and ", Quoted(name),
                                      " of the run (csv.rename in worker.yaml): let it be one of them"));
  }
  taken[place] = &name;
  return absl::OkStatus();
}

absl::StatusOr<bool> TableFile::Next(TableRow& row) {
  TRIBUTARY_ASSIGN_OR_RETURN(const bool more, reader_.Next(fields_));
  row.cells.clear();
  row.left_out.clear();
  row.problem = more ? ReadRow(row) : absl::OkStatus();
  return more;
}

bool TableFile::LeavesOut(size_t place, MissingPolicy missing, TableRow& row) const {
  if (missing != MissingPolicy::kDrop || !coding_->IsMissing(fields_[place])) {
    return false;
  }
  row.left_out = absl::StrCat("no value in column ", Quoted(reader_.header()[place]));
  return true;
}

absl::Status TableFile::ReadRow(TableRow& row) {
  for (size_t c = 0; c < places_.size(); ++c) {
    if (LeavesOut(places_[c], coding_->schema.columns[c].missing, row)) {
      return absl::OkStatus();
    }
  }
  if (label_place_.has_value() && LeavesOut(*label_place_, coding_->schema.label.missing, row)) {
    return absl::OkStatus();
  }
  for (size_t c = 0; c < places_.size(); ++c) {
    TRIBUTARY_RETURN_IF_ERROR(ReadCell(c, row));
  }
  return label_place_.has_value() ? ReadLabel(row) : absl::OkStatus();
}

absl::Status TableFile::ReadNumber(absl::string_view column, const std::string& field, double& value) {
  const std::string problem = numbers_.Read(field, reader_.line(), value);
  return problem.empty() ? absl::OkStatus() : reader_.Error(absl::StrCat("column ", Quoted(column), ": ", problem));
}

absl::Status TableFile::Refuse(absl::string_view message) const {
  return WithRefusal(reader_.Error(message), "a value that the run's data.columns or data.label refuse; the site's own log says which");
}

absl::Status TableFile::RefuseGap(absl::string_view column, const std::string& field, absl::string_view key) const {
  const std::string what = absl::StrCat("column ", Quoted(column), ": ",
                                        field.empty() ? "an empty field" : absl::StrCat(Quoted(field), " (csv.missing in worker.yaml)"));
  return coding_->origin == TableCoding::Origin::kHeader
             ? reader_.Error(what)
             : Refuse(absl::StrCat(what, ", which the run refuses (", key, ": missing: refuse): fill it in, or take the row out"));
}

absl::Status TableFile::ReadCell(size_t c, TableRow& row) {
  const TableColumn& column = coding_->schema.columns[c];
  const std::string& field = fields_[places_[c]];
  const std::string& here = reader_.header()[places_[c]];
  if (coding_->IsMissing(field)) {
    if (column.missing == MissingPolicy::kRefuse) {
      return RefuseGap(here, field, "data.columns");
    }
    row.cells.push_back(std::numeric_limits<float>::quiet_NaN());
    return absl::OkStatus();
  }
  if (column.kind == TableColumn::Kind::kCategory) {
    const std::optional<int64_t> found = coding_->categories[c].Find(field);
    if (!found.has_value() && !column.other) {
      return Refuse(absl::StrCat("a value of column ", Quoted(column.name), " that the run's data.columns does not name: column ",
                                 Quoted(here), " holds ", Quoted(field), "; the run has ", coding_->categories[c].Words(),
                                 ": write it as one of these, or have the run take others (other: true)"));
    }
    row.cells.push_back(static_cast<float>(found.value_or(static_cast<int64_t>(column.values.size()))));
    return absl::OkStatus();
  }
  double value = 0;
  TRIBUTARY_RETURN_IF_ERROR(ReadNumber(here, field, value));
  const bool low = column.min.has_value() && value < *column.min;
  if (low || (column.max.has_value() && value > *column.max)) {
    const std::string unit = column.unit.empty() ? "" : absl::StrCat(" ", Quoted(column.unit));
    return Refuse(
        absl::StrCat("a value of column ", Quoted(column.name), low ? " below the run's min, " : " above the run's max, ",
                     low ? *column.min : *column.max, unit, " (data.columns): column ", Quoted(here), " holds ", Quoted(field),
                     ": if it is in another unit, convert the column; if it is a slip of the pen, correct it or empty the field"));
  }
  row.cells.push_back(static_cast<float>(value));
  return absl::OkStatus();
}

absl::Status TableFile::ReadLabel(TableRow& row) {
  const TableLabel& label = coding_->schema.label;
  const std::string& field = fields_[*label_place_];
  const std::string& here = reader_.header()[*label_place_];
  if (coding_->IsMissing(field)) {
    return RefuseGap(here, field, "data.label");
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
    return Refuse(absl::StrCat("a label that the run's data.label does not name: column ", Quoted(here), " holds ", Quoted(field),
                               "; the run has ", coding_->classes.Words(),
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
