// What a run says of the columns of its tables (v1.ColumnSpec, v1.LabelSpec), in plain types.
#ifndef TRIBUTARY_WORKER_DATA_TABLE_SCHEMA_H_
#define TRIBUTARY_WORKER_DATA_TABLE_SCHEMA_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace tributary::worker {

// What a number is standardised with, in its unit: (value - mean) / deviation.
struct Scale {
  double mean = 0;
  double deviation = 1;
};

// What becomes of a row without the value.
enum class MissingPolicy { kRefuse, kDrop, kMean, kFlag };

struct TableColumn {
  enum class Kind { kNumber, kCategory };

  std::string name;
  std::string unit = {};
  std::vector<std::string> aliases = {};
  Kind kind = Kind::kNumber;
  std::vector<std::string> values = {};  // of a category
  bool other = false;                    // of a category: a further input for all other values
  MissingPolicy missing = MissingPolicy::kRefuse;
  std::optional<Scale> scale = {};  // of a number; absent: as the schema's `standardise`
  std::optional<double> min = {};
  std::optional<double> max = {};
};

struct TableClass {
  std::string name;
  std::vector<std::string> values = {};  // how sites write it; empty: as its name
  double weight = 1;
};

struct TableLabel {
  std::string name;
  std::vector<std::string> aliases = {};
  std::vector<TableClass> classes = {};  // empty: a number is predicted
  MissingPolicy missing = MissingPolicy::kRefuse;
  std::string unit = {};
  std::optional<Scale> scale = {};
};

// Whose training rows say the scale of a number that does not say its own.
enum class Standardise { kSite, kNone };

struct TableSchema {
  std::vector<TableColumn> columns;
  TableLabel label;
  Standardise standardise = Standardise::kSite;
};

// Inputs of the model that `column` gives: 1, or one for each value of a category; one more for `other`, and one for the flag.
size_t InputsOf(const TableColumn& column);
size_t InputsOf(const TableSchema& schema);

// Of all inputs, in their order: "age", "age missing", "sex=female", "sex other".
std::vector<std::string> InputNames(const TableSchema& schema);

// "refuse", "drop", "mean", "flag": as run.yaml writes it.
const char* NameOf(MissingPolicy policy);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_TABLE_SCHEMA_H_
