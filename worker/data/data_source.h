// A site's data as batches: training batches drawn at random, validation batches always the same.
//
// The two never share a byte of text or a row. Everything stays in this process's memory.
#ifndef TRIBUTARY_WORKER_DATA_DATA_SOURCE_H_
#define TRIBUTARY_WORKER_DATA_DATA_SOURCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/data/counter_rng.h"
#include "worker/data/data_description.h"
#include "worker/data/image_scale.h"
#include "worker/data/table_options.h"
#include "worker/data/table_report.h"
#include "worker/models/batch.h"

namespace tributary::worker {

// Immutable after it is made; safe to share between threads.
class DataSource {
 public:
  virtual ~DataSource() = default;

  // `rows` >= 1 samples of the training split, drawn with replacement.
  virtual Batch DrawTraining(CounterRng& rng, uint32_t rows) const = 0;

  // Size of the training split, at least 1: rows, or windows of text that fit side by side.
  virtual uint64_t training_samples() const = 0;

  virtual const DataDescription& description() const = 0;

  // Validation batches, evenly spaced through the split; at least one.
  virtual uint32_t validation_batches() const = 0;
  // `index` < validation_batches().
  virtual Batch Validation(uint32_t index) const = 0;

  // What a number to predict was divided by to be standardised: an error times this is in the number's own unit.
  virtual double value_scale() const { return 1; }

  // How often each class is a target in the training split: what a model that ignores its input can know.
  // Empty: the targets are numbers.
  virtual std::vector<uint64_t> TrainingTargetCounts() const = 0;

  // What was read of a table; nothing: it is none.
  virtual std::optional<TableReport> Table() const { return std::nullopt; }
};

struct DataOptions {
  std::string folder;
  double validation_fraction = 0;  // in (0, 1)
  // At most this many validation batches of at most this many rows; fewer where the split has fewer samples.
  uint32_t evaluation_batches = 0;
  uint32_t batch_size = 0;
};

// UTF-8 text, one token a byte and line ends as they are, in windows of `context` tokens. All visible files of the folder, one after
// another by name; the last `validation_fraction` of every file is for validation. DataError (folder.h): an empty or unreadable folder, a
// file that is not UTF-8 ("/data/a.txt: byte 17 is not UTF-8"), too little text.
absl::StatusOr<std::unique_ptr<DataSource>> MakeTextSource(const DataOptions& options, int64_t context);

struct TokenOptions {
  uint64_t token_bytes = 2;  // of one number: 2 or 4
  int64_t context = 1;       // tokens of a window
  int64_t vocabulary = 2;    // numbers are below it
};

// Numbers of tokens, little-endian and one after another: all visible .bin files of the folder, by name, as nanoGPT writes them, or llm.c,
// whose header of 1024 bytes is known by its magic number, checked and left out. The last `validation_fraction` of every file is for
// validation. DataError: an empty or unreadable folder, a file that ends within a token or is not what its header says, a number that the
// model does not know ("/data/a.bin: token 17 (at byte 34) is 50256, ..."), too few tokens. With a refusal where another run could train on
// these files. InvalidArgument: token_bytes is something else.
absl::StatusOr<std::unique_ptr<DataSource>> MakeTokenSource(const DataOptions& options, const TokenOptions& tokens);

// Tables: all visible .csv files of the folder (csv_reader.h), each in an encoding of its own (text_encoding.h). With a schema, columns are
// found by name wherever they stand in a file, others are left out, and table_file.h says what is refused. Numbers are standardised with
// the schema's statistics, or else with those of this site's training rows. Every 1/validation_fraction-th row that is not left out is for
// validation, so that files sorted by label are split fairly. DataError with file and line: what csv_reader.h and table_file.h refuse;
// without a schema also files of different columns, and a label out of range; or too few rows. With a refusal (worker/refusal.h) where
// another run could train on these tables.
absl::StatusOr<std::unique_ptr<DataSource>> MakeCsvSource(const DataOptions& options, const TableOptions& table);

struct ImageOptions {
  ImageShape shape;
  int64_t classes = 0;             // 0: images alone
  std::vector<std::string> names;  // of the classes, which are the names of their folders; empty: these are the numbers from 0
};

// PNG and JPEG files in a folder for each class, and files in MNIST's IDX format beside these folders, whose labels are the classes'
// numbers; without classes images also lie directly in the folder, or in folders of any name. Scaled to the shape (image_scale.h) and held
// as bytes. In the order of the classes and then of the files' names, every 1/validation_fraction-th image is for validation. DataError
// with the file: it cannot be decoded, or has no labels; a folder that is no class; too few images; more than fit into kMaxDataBytes. With
// a refusal where another run could train on these images.
absl::StatusOr<std::unique_ptr<DataSource>> MakeImageSource(const DataOptions& options, const ImageOptions& images);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_DATA_SOURCE_H_
