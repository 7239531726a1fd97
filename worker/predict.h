// What a trained model says of the rows of a table.
#ifndef TRIBUTARY_WORKER_PREDICT_H_
#define TRIBUTARY_WORKER_PREDICT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "optim/model_spec.h"
#include "worker/data/csv_format.h"
#include "worker/data/table_rows.h"
#include "worker/data/table_schema.h"

namespace tributary::worker {

struct PredictOptions {
  optim::ModelSpec model;
  TableSchema schema;  // which gives the model's inputs
  TableStatistics statistics;
  CsvFormat format;  // of the file
  int threads = 1;
};

struct Predictions {
  // CSV with a header. A line for each row of the table, numbered from 1: of classes the prediction and the probability of each, else the
  // number in the label's unit. A row that the schema drops has nothing but its number. What classes weighed in the loss is taken out of
  // the probabilities; the prediction is the class whose probability times its weight is greatest, as in the run's own metrics.
  std::string csv;
  uint64_t rows = 0;
  uint64_t left_out = 0;
};

// `theta`: the model's parameters. `file`: a csv file, whose label is not read. Errors of worker/data/table_file.h; DataError: the model
// gives no finite number for a row; InvalidArgument: theta of another size, or a schema that does not give the model's inputs.
absl::StatusOr<Predictions> Predict(const PredictOptions& options, absl::Span<const float> theta, const std::string& file);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_PREDICT_H_
