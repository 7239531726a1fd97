#include "worker/data/table_schema.h"

#include "absl/strings/str_cat.h"

namespace tributary::worker {

size_t InputsOf(const TableColumn& column) {
  const size_t values = column.kind == TableColumn::Kind::kNumber ? 1 : column.values.size() + (column.other ? 1 : 0);
  return values + (column.missing == MissingPolicy::kFlag ? 1 : 0);
}

size_t InputsOf(const TableSchema& schema) {
  size_t inputs = 0;
  for (const TableColumn& column : schema.columns) {
    inputs += InputsOf(column);
  }
  return inputs;
}

std::vector<std::string> InputNames(const TableSchema& schema) {
  std::vector<std::string> names;
  for (const TableColumn& column : schema.columns) {
    if (column.kind == TableColumn::Kind::kNumber) {
      names.push_back(column.name);
    }
    for (const std::string& value : column.values) {
      names.push_back(absl::StrCat(column.name, "=", value));
    }
    if (column.other) {
      names.push_back(absl::StrCat(column.name, " other"));
    }
    if (column.missing == MissingPolicy::kFlag) {
      names.push_back(absl::StrCat(column.name, " missing"));
    }
  }
  return names;
}

const char* NameOf(MissingPolicy policy) {
  switch (policy) {
    case MissingPolicy::kRefuse:
      return "refuse";
    case MissingPolicy::kDrop:
      return "drop";
    case MissingPolicy::kMean:
      return "mean";
    case MissingPolicy::kFlag:
      return "flag";
  }
  return "";
}

}  // namespace tributary::worker
