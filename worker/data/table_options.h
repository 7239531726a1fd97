// How a run's tables are read at one site.
#ifndef TRIBUTARY_WORKER_DATA_TABLE_OPTIONS_H_
#define TRIBUTARY_WORKER_DATA_TABLE_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "worker/data/csv_format.h"
#include "worker/data/table_schema.h"

namespace tributary::worker {

inline constexpr size_t kMaxProblems = 20;

struct TableOptions {
  // Without `schema`: the label's column, and all others as numbers, as many as `inputs`, in the same order in all files.
  std::string label_column;
  int64_t inputs = 1;
  int64_t outputs = 2;  // labels are the integers 0..outputs-1; 0: they are numbers, to be predicted
  Standardise standardise = Standardise::kSite;
  // What the run says of its columns, besides which nothing of the above counts.
  std::optional<TableSchema> schema = {};
  CsvFormat format = {};
  // Takes what is wrong with rows, at most kMaxProblems of them, and must outlive the reading. Null: reading ends at the first.
  std::vector<std::string>* problems = nullptr;
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_TABLE_OPTIONS_H_
