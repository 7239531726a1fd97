#include "worker/table_config.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/excerpt.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"

namespace tributary::worker {
namespace {

absl::Status Invalid(absl::string_view key, absl::string_view value, absl::string_view problem) {
  return WithExitCode(absl::InvalidArgumentError(absl::StrCat(key, ": '", Excerpt(std::string(value)), "' ", problem)), ExitCode::kUsage);
}

bool Separates(char c) {
  return absl::ascii_ispunct(static_cast<unsigned char>(c)) && c != '"' && c != '.' && c != '-' && c != '+' && c != '_';
}

std::vector<std::string> ListOf(const google::protobuf::RepeatedPtrField<std::string>& words) {
  return {words.begin(), words.end()};
}

MissingPolicy PolicyOf(v1::ColumnSpec::Missing missing) {
  switch (missing) {
    case v1::ColumnSpec::DROP:
      return MissingPolicy::kDrop;
    case v1::ColumnSpec::MEAN:
      return MissingPolicy::kMean;
    case v1::ColumnSpec::FLAG:
      return MissingPolicy::kFlag;
    default:
      return MissingPolicy::kRefuse;
  }
}

// Of a column or a label, which have the same fields.
template <typename Spec>
std::optional<Scale> ScaleOf(const Spec& spec) {
  return spec.has_mean() ? std::make_optional(Scale{.mean = spec.mean(), .deviation = spec.deviation()}) : std::nullopt;
}

TableColumn ColumnOf(const v1::ColumnSpec& spec) {
  TableColumn column{.name = spec.name()};
  column.unit = spec.unit();
  column.aliases = ListOf(spec.aliases());
  column.kind = spec.kind() == v1::ColumnSpec::CATEGORY ? TableColumn::Kind::kCategory : TableColumn::Kind::kNumber;
  column.values = ListOf(spec.values());
  column.other = spec.other();
  column.missing = PolicyOf(spec.missing());
  column.scale = ScaleOf(spec);
  column.min = spec.has_min() ? std::make_optional(spec.min()) : std::nullopt;
  column.max = spec.has_max() ? std::make_optional(spec.max()) : std::nullopt;
  return column;
}

Standardise StandardiseOf(const v1::DataSpec& data) {
  return data.standardise() == v1::NONE ? Standardise::kNone : Standardise::kSite;
}

}  // namespace

absl::StatusOr<CsvFormat> CsvFormatOf(const v1::CsvConfig& csv) {
  CsvFormat format;
  if (const std::string& separator = csv.separator(); !separator.empty()) {
    if (separator != "tab" && (separator.size() != 1 || !Separates(separator[0]))) {
      return Invalid("csv.separator", separator, "is neither one character that can separate fields, such as ; or |, nor tab");
    }
    format.separator = separator == "tab" ? '\t' : separator[0];
  }
  if (const std::string& decimal = csv.decimal(); !decimal.empty()) {
    if (decimal != "point" && decimal != "comma") {
      return Invalid("csv.decimal", decimal, "is not point or comma");
    }
    format.decimal = decimal == "comma" ? ',' : '.';
  }
  if (!csv.encoding().empty()) {
    format.encoding = EncodingNamed(csv.encoding());
    if (!format.encoding.has_value()) {
      return Invalid("csv.encoding", csv.encoding(), "is not utf-8, utf-16, latin-1 or windows-1252");
    }
  }
  for (const std::string& rename : csv.rename()) {
    // The last one: "=" is likelier in a site's name than in the run's.
    const size_t at = rename.rfind('=');
    if (at == std::string::npos || at == 0 || at + 1 == rename.size()) {
      return Invalid("csv.rename", rename, "is not THEIRS=OURS: this site's name of a column, and the run's");
    }
    format.rename.push_back(
        {std::string(absl::StripAsciiWhitespace(rename.substr(0, at))), std::string(absl::StripAsciiWhitespace(rename.substr(at + 1)))});
  }
  format.missing = ListOf(csv.missing());
  return format;
}

TableSchema TableSchemaOf(const v1::DataSpec& data) {
  TableSchema schema;
  for (const v1::ColumnSpec& column : data.columns()) {
    schema.columns.push_back(ColumnOf(column));
  }
  const v1::LabelSpec& label = data.label();
  schema.label.name = label.name();
  schema.label.aliases = ListOf(label.aliases());
  for (const v1::ClassSpec& one : label.classes()) {
    schema.label.classes.push_back({.name = one.name(), .values = ListOf(one.values()), .weight = one.weight()});
  }
  schema.label.missing = PolicyOf(label.missing());
  schema.label.unit = label.unit();
  schema.label.scale = ScaleOf(label);
  schema.standardise = StandardiseOf(data);
  return schema;
}

absl::StatusOr<TableOptions> TableOptionsOf(const v1::DataSpec& data, const v1::CsvConfig& csv) {
  TableOptions options;
  options.label_column = data.label_column();
  options.standardise = StandardiseOf(data);
  if (data.columns_size() > 0) {
    options.schema = TableSchemaOf(data);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(options.format, CsvFormatOf(csv));
  return options;
}

}  // namespace tributary::worker
