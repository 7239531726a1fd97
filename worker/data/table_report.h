// What was read of a site's tables, for its own people: it names files, columns and values.
#ifndef TRIBUTARY_WORKER_DATA_TABLE_REPORT_H_
#define TRIBUTARY_WORKER_DATA_TABLE_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "worker/data/table_rows.h"
#include "worker/data/table_schema.h"
#include "worker/data/text_encoding.h"

namespace tributary::worker {

struct TableReport {
  struct File {
    std::string path;
    Encoding encoding = Encoding::kUtf8;
    char separator = ',';
    std::optional<char> decimal;        // absent: no number has one
    uint64_t rows = 0;                  // those left out included
    std::vector<std::string> left_out;  // columns
  };
  struct Count {
    std::string what;
    uint64_t rows = 0;
  };
  // Of all rows that are in, training and validation.
  struct Column {
    uint64_t missing = 0;
    std::optional<double> least, most;  // of a number
    std::vector<Count> values;          // of a category, the most frequent first; of a label its classes, in their order
  };

  std::vector<File> files;
  std::vector<Count> rows_left_out;  // by reason
  TableSchema schema;
  TableStatistics statistics;
  std::vector<Column> columns;  // one for each of the schema
  Column label;
  uint64_t training_rows = 0;
  uint64_t validation_rows = 0;
};

// Fills in `columns` and `label` of `report`, whose schema is set. `class_names`: of the label's classes; empty: it is a number.
void CountValues(const TableRows& training, const TableRows& validation, const std::vector<std::string>& class_names, TableReport& report);

// Some lines for people.
std::string TableReportText(const TableReport& report);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_TABLE_REPORT_H_
