// Rows of a table as they are kept, what standardises them, and how they become a model's inputs.
#ifndef TRIBUTARY_WORKER_DATA_TABLE_ROWS_H_
#define TRIBUTARY_WORKER_DATA_TABLE_ROWS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "worker/data/table_schema.h"

namespace tributary::worker {

// Row-major, one cell for each column of the schema: a number in its unit, or which of its column's inputs a category sets, from 0. NaN:
// the value is missing.
struct TableRows {
  std::vector<float> cells;
  std::vector<int64_t> classes;  // of the label, where it has classes
  std::vector<float> values;     // the label, where it is a number, in its unit

  uint64_t rows() const { return classes.size() + values.size(); }
};

// What a table's numbers are standardised with: given by the run, or computed from training rows, but from then on the same thing.
struct TableStatistics {
  std::vector<Scale> columns;  // one for each of the schema; of a category: not read
  Scale label;                 // where it is a number
};

// As far as the run says them. Nothing: some are its sites' own.
std::optional<TableStatistics> StatedStatistics(const TableSchema& schema);

// What the run does not say is mean and standard deviation of `training`, missing values apart. A column that is constant there, or has no
// value, has deviation 1: it is only shifted.
TableStatistics ComputeStatistics(const TableSchema& schema, const TableRows& training);

// (value - mean) / deviation.
float Standardised(float value, const Scale& scale);

// Appends the model's inputs [InputsOf(schema)] of a row of `cells` [schema.columns]. A number that is missing is its mean, 0; a category
// that is missing sets none of its inputs but the flag.
void AppendInputs(const TableSchema& schema, const TableStatistics& statistics, absl::Span<const float> cells, std::vector<float>& inputs);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_TABLE_ROWS_H_
