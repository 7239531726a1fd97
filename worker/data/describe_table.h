// What a run could say of its columns, read off the files of one site.
#ifndef TRIBUTARY_WORKER_DATA_DESCRIBE_TABLE_H_
#define TRIBUTARY_WORKER_DATA_DESCRIBE_TABLE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/data/csv_format.h"

namespace tributary::worker {

// The sections `model` and `data` of a run.yaml, with comments on what was left out and what somebody must decide. Of the data it tells
// names of columns, and of categories and labels those values that at least five rows have; no numbers of rows. Columns in the order of the
// first file. `label`: the column to predict; empty: the last one. DataError: a file cannot be read, has a column twice or other columns
// than the first, or the label is not there or always the same.
absl::StatusOr<std::string> DescribeTable(const std::vector<std::string>& files, const CsvFormat& format, const std::string& label);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_DESCRIBE_TABLE_H_
