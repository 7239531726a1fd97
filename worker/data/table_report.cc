#include "worker/data/table_report.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "worker/data/csv_reader.h"
#include "worker/data/utf8.h"

namespace tributary::worker {
namespace {

constexpr size_t kMaxShown = 12;

void Widen(float value, TableReport::Column& column) {
  column.least = std::min<double>(value, column.least.value_or(value));
  column.most = std::max<double>(value, column.most.value_or(value));
}

// "a, b and 3 more".
std::string Shown(const std::vector<std::string>& words) {
  const size_t shown = std::min(words.size(), kMaxShown);
  const std::string text = absl::StrJoin(words.begin(), words.begin() + static_cast<ptrdiff_t>(shown), ", ");
  return PrintableUtf8(shown < words.size() ? absl::StrCat(text, " and ", words.size() - shown, " more") : text);
}

std::string CountsText(const std::vector<TableReport::Count>& counts) {
  std::vector<std::string> words;
  words.reserve(counts.size());
  for (const TableReport::Count& count : counts) {
    words.push_back(absl::StrCat(count.what, " ", count.rows));
  }
  return Shown(words);
}

std::string NumberText(const TableReport::Column& column, const Scale& scale) {
  std::string text = absl::StrFormat("mean %.6g, deviation %.6g", scale.mean, scale.deviation);
  if (column.least.has_value()) {
    absl::StrAppendFormat(&text, ", from %.6g to %.6g", *column.least, *column.most);
  }
  return text;
}

std::string Named(absl::string_view name, absl::string_view unit) {
  return PrintableUtf8(unit.empty() ? std::string(name) : absl::StrCat(name, " (", unit, ")"));
}

std::string FileText(const TableReport::File& file) {
  std::string text = absl::StrCat("  ", PrintableUtf8(file.path), ": ", file.rows, " rows; ", NameOf(file.encoding), ", separated by ",
                                  SeparatorName(file.separator));
  if (file.decimal.has_value()) {
    absl::StrAppend(&text, ", decimal ", *file.decimal == ',' ? "comma" : "point");
  }
  if (!file.left_out.empty()) {
    absl::StrAppend(&text, "; columns left out: ", Shown(file.left_out));
  }
  return absl::StrCat(text, "\n");
}

}  // namespace

void CountValues(const TableRows& training, const TableRows& validation, const std::vector<std::string>& class_names, TableReport& report) {
  const size_t width = report.schema.columns.size();
  report.columns.resize(width);
  for (size_t c = 0; c < width; ++c) {
    const TableColumn& column = report.schema.columns[c];
    std::vector<TableReport::Count>& values = report.columns[c].values;
    for (const std::string& value : column.values) {
      values.push_back({value, 0});
    }
    if (column.other) {
      values.push_back({"other", 0});
    }
  }
  for (const std::string& name : class_names) {
    report.label.values.push_back({name, 0});
  }
  for (const TableRows* split : {&training, &validation}) {
    for (size_t i = 0; i < split->cells.size(); ++i) {
      TableReport::Column& column = report.columns[i % width];
      const float cell = split->cells[i];
      if (std::isnan(cell)) {
        ++column.missing;
      } else if (report.schema.columns[i % width].kind == TableColumn::Kind::kCategory) {
        ++column.values[static_cast<size_t>(cell)].rows;
      } else {
        Widen(cell, column);
      }
    }
    for (const int64_t label : split->classes) {
      ++report.label.values[static_cast<size_t>(label)].rows;
    }
    for (const float value : split->values) {
      Widen(value, report.label);
    }
  }
  for (TableReport::Column& column : report.columns) {
    std::stable_sort(column.values.begin(), column.values.end(), [](const auto& a, const auto& b) { return a.rows > b.rows; });
  }
}

std::string TableReportText(const TableReport& report) {
  std::string text = "read\n";
  for (const TableReport::File& file : report.files) {
    absl::StrAppend(&text, FileText(file));
  }
  if (!report.rows_left_out.empty()) {
    absl::StrAppend(&text, "rows left out\n");
    for (const TableReport::Count& count : report.rows_left_out) {
      absl::StrAppend(&text, "  ", count.rows, ": ", count.what, "\n");
    }
  }
  absl::StrAppend(&text, "what the model sees: ", InputsOf(report.schema), " inputs; ", report.training_rows, " rows to train on, ",
                  report.validation_rows, " for validation\n");
  for (size_t c = 0; c < report.columns.size(); ++c) {
    const TableColumn& column = report.schema.columns[c];
    const TableReport::Column& counted = report.columns[c];
    const bool number = column.kind == TableColumn::Kind::kNumber;
    absl::StrAppend(&text, "  ", Named(column.name, column.unit), ": ",
                    number ? NumberText(counted, report.statistics.columns[c]) : CountsText(counted.values));
    if (counted.missing > 0) {
      absl::StrAppend(&text, "; missing ", counted.missing, " (", NameOf(column.missing), ")");
    }
    absl::StrAppend(&text, "\n");
  }
  absl::StrAppend(&text, "what it predicts\n  ", Named(report.schema.label.name, report.schema.label.unit), ": ",
                  report.label.values.empty() ? NumberText(report.label, report.statistics.label) : CountsText(report.label.values), "\n");
  return text;
}

}  // namespace tributary::worker
