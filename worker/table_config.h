// How tables are read, from what the run and the site say of them.
#ifndef TRIBUTARY_WORKER_TABLE_CONFIG_H_
#define TRIBUTARY_WORKER_TABLE_CONFIG_H_

#include "absl/status/statusor.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/run.pb.h"
#include "worker/data/csv_format.h"
#include "worker/data/table_options.h"
#include "worker/data/table_schema.h"

namespace tributary::worker {

// InvalidArgument, exit code kUsage, names the key: "csv.decimal: 'dot' is not point or comma".
absl::StatusOr<CsvFormat> CsvFormatOf(const v1::CsvConfig& csv);

// `data` is valid (proto/config/run_options.h) and has columns.
TableSchema TableSchemaOf(const v1::DataSpec& data);

// All but the model's inputs and outputs. `data` is valid. Errors of CsvFormatOf.
absl::StatusOr<TableOptions> TableOptionsOf(const v1::DataSpec& data, const v1::CsvConfig& csv);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_TABLE_CONFIG_H_
