#include "proto/config/table_rules.h"

#include <map>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/canonical_word.h"
#include "common/excerpt.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

using v1::ColumnSpec;

// All that a run says of its data travels with the model, in a header that is bounded (common/safetensors.h).
constexpr size_t kMaxDataSpecBytes = 128 << 10;

absl::Status Invalid(absl::string_view key, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(key, ": ", problem));
}

// Words that must differ, and where each was said.
class Distinct {
 public:
  absl::Status Add(const std::string& word, const std::string& key) { return Add(word, word, key); }
  // Values are compared as tables are read: "1" and "1.0" are one.
  absl::Status AddValue(const std::string& word, const std::string& key) { return Add(word, CanonicalWord(word), key); }

 private:
  absl::Status Add(const std::string& word, const std::string& compared, const std::string& key) {
    if (word.empty() || absl::StripAsciiWhitespace(word) != word) {
      return Invalid(key, absl::StrCat("'", Excerpt(word), "' is empty, or begins or ends with a blank, which tables are read without"));
    }
    const auto [at, added] = keys_.emplace(compared, key);
    return added ? absl::OkStatus() : Invalid(key, absl::StrCat("'", Excerpt(word), "' is already ", at->second));
  }

  std::map<std::string, std::string> keys_;
};

template <typename Spec>
absl::Status AddNames(const Spec& spec, const std::string& key, Distinct& names) {
  TRIBUTARY_RETURN_IF_ERROR(names.Add(spec.name(), absl::StrCat(key, ".name")));
  for (int i = 0; i < spec.aliases_size(); ++i) {
    TRIBUTARY_RETURN_IF_ERROR(names.Add(spec.aliases(i), absl::StrCat(key, ".aliases[", i, "]")));
  }
  return absl::OkStatus();
}

// Of a column or a label, which have the same fields.
template <typename Spec>
absl::Status CheckScale(const Spec& spec, const std::string& key) {
  if (spec.has_mean() == spec.has_deviation()) {
    return absl::OkStatus();
  }
  return Invalid(absl::StrCat(key, spec.has_mean() ? ".deviation" : ".mean"),
                 "is missing; mean and deviation come together, or neither does");
}

absl::Status CheckNumber(const ColumnSpec& column, const std::string& key, v1::Standardise standardise) {
  if (column.values_size() > 0 || column.other()) {
    return Invalid(absl::StrCat(key, column.other() ? ".other" : ".values"), "is for kind: category; remove it, or change the kind");
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckScale(column, key));
  if (column.has_min() && column.has_max() && column.min() > column.max()) {
    return Invalid(absl::StrCat(key, ".min"), absl::StrCat(column.min(), " is more than max, ", column.max()));
  }
  const bool uses_mean = column.missing() == ColumnSpec::MEAN || column.missing() == ColumnSpec::FLAG;
  if (uses_mean && standardise == v1::NONE && !column.has_mean()) {
    return Invalid(absl::StrCat(key, ".mean"), "is missing; with standardise: none nothing else says the mean that stands for a value");
  }
  return absl::OkStatus();
}

absl::Status CheckCategory(const ColumnSpec& column, const std::string& key) {
  const char* const of_number = !column.unit().empty()   ? "unit"
                                : column.has_mean()      ? "mean"
                                : column.has_deviation() ? "deviation"
                                : column.has_min()       ? "min"
                                : column.has_max()       ? "max"
                                                         : nullptr;
  if (of_number != nullptr) {
    return Invalid(absl::StrCat(key, ".", of_number), "is for kind: number; remove it, or change the kind");
  }
  if (column.values().empty()) {
    return Invalid(absl::StrCat(key, ".values"), "is missing; a category needs the values that the sites agree on");
  }
  if (column.missing() == ColumnSpec::MEAN) {
    return Invalid(absl::StrCat(key, ".missing"), "a category has no mean; choose refuse, drop or flag");
  }
  Distinct values;
  for (int i = 0; i < column.values_size(); ++i) {
    TRIBUTARY_RETURN_IF_ERROR(values.AddValue(column.values(i), absl::StrCat(key, ".values[", i, "]")));
  }
  return absl::OkStatus();
}

absl::Status CheckClasses(const v1::LabelSpec& label, uint32_t outputs) {
  if (!label.unit().empty() || label.has_mean() || label.has_deviation()) {
    return Invalid(absl::StrCat("data.label.", !label.unit().empty() ? "unit"
                                               : label.has_mean()    ? "mean"
                                                                     : "deviation"),
                   "is for a model that predicts a number (model.mlp.task: values); remove it");
  }
  Distinct names;
  Distinct values;
  for (int i = 0; i < label.classes_size(); ++i) {
    const v1::ClassSpec& one = label.classes(i);
    const std::string key = absl::StrCat("data.label.classes[", i, "]");
    TRIBUTARY_RETURN_IF_ERROR(names.Add(one.name(), absl::StrCat(key, ".name")));
    if (one.values().empty()) {
      TRIBUTARY_RETURN_IF_ERROR(values.AddValue(one.name(), absl::StrCat(key, ".name")));
    }
    for (int j = 0; j < one.values_size(); ++j) {
      TRIBUTARY_RETURN_IF_ERROR(values.AddValue(one.values(j), absl::StrCat(key, ".values[", j, "]")));
    }
  }
  if (label.classes().empty()) {
    return Invalid("data.label.classes", "is missing; name the classes, in the order of the model's outputs");
  }
  if (static_cast<uint32_t>(label.classes_size()) != outputs) {
    return Invalid("model.mlp.outputs",
                   absl::StrCat(outputs, ", but data.label has ", label.classes_size(), " classes; set it to ", label.classes_size()));
  }
  return absl::OkStatus();
}

absl::Status CheckLabel(const v1::LabelSpec& label, const v1::MlpSpec& mlp) {
  if (label.missing() == ColumnSpec::MEAN || label.missing() == ColumnSpec::FLAG) {
    return Invalid("data.label.missing", "a row without a label cannot be learned from; choose refuse or drop");
  }
  if (mlp.task() != v1::MlpSpec::VALUES) {
    return CheckClasses(label, mlp.outputs());
  }
  if (label.classes_size() > 0) {
    return Invalid("data.label.classes", "model.mlp.task: values predicts a number; remove the classes, or the task");
  }
  return CheckScale(label, "data.label");
}

}  // namespace

uint64_t InputsOf(const google::protobuf::RepeatedPtrField<ColumnSpec>& columns) {
  uint64_t inputs = 0;
  for (const ColumnSpec& column : columns) {
    inputs += column.kind() == ColumnSpec::CATEGORY ? static_cast<uint64_t>(column.values_size()) + (column.other() ? 1 : 0) : 1;
    inputs += column.missing() == ColumnSpec::FLAG ? 1 : 0;
  }
  return inputs;
}

absl::Status CheckTable(const v1::RunSpec& spec) {
  const v1::DataSpec& data = spec.data();
  if (data.columns().empty()) {
    if (data.has_label()) {
      return Invalid("data.label", "goes with data.columns; name the columns too, or use data.label_column instead");
    }
    return data.label_column().empty()
               ? Invalid("data.label_column", "is missing; csv data needs the name of its label column (or data.columns and data.label)")
               : absl::OkStatus();
  }
  if (!data.label_column().empty()) {
    return Invalid("data.label_column", "with data.columns, data.label says it; remove the key");
  }
  if (!data.has_label()) {
    return Invalid("data.label", "is missing; with data.columns it says what the model predicts");
  }
  if (const size_t bytes = data.ByteSizeLong(); bytes > kMaxDataSpecBytes) {
    return Invalid("data", absl::StrCat("has ", bytes, " bytes, and at most ", kMaxDataSpecBytes,
                                        " travel with a model; leave out columns, ", "values or aliases"));
  }
  Distinct names;
  TRIBUTARY_RETURN_IF_ERROR(AddNames(data.label(), "data.label", names));
  for (int i = 0; i < data.columns_size(); ++i) {
    const ColumnSpec& column = data.columns(i);
    const std::string key = absl::StrCat("data.columns[", i, "]");
    TRIBUTARY_RETURN_IF_ERROR(AddNames(column, key, names));
    TRIBUTARY_RETURN_IF_ERROR(column.kind() == ColumnSpec::CATEGORY ? CheckCategory(column, key)
                                                                    : CheckNumber(column, key, data.standardise()));
  }
  const v1::MlpSpec& mlp = spec.model().mlp();
  if (const uint64_t inputs = InputsOf(data.columns()); inputs != mlp.inputs()) {
    return Invalid("model.mlp.inputs", absl::StrCat(mlp.inputs(), ", but data.columns give ", inputs, " inputs; set it to ", inputs));
  }
  return CheckLabel(data.label(), mlp);
}

absl::Status CheckNoTable(const v1::DataSpec& data, absl::string_view kind) {
  const char* const key = !data.label_column().empty()                        ? "label_column"
                          : data.columns_size() > 0                           ? "columns"
                          : data.has_label()                                  ? "label"
                          : data.standardise() != v1::STANDARDISE_UNSPECIFIED ? "standardise"
                                                                              : nullptr;
  return key == nullptr ? absl::OkStatus() : Invalid(absl::StrCat("data.", key), absl::StrCat(kind, " has no columns; remove the key"));
}

}  // namespace tributary
