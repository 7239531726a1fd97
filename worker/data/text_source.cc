#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/format_bytes.h"
#include "common/status_macros.h"
#include "worker/data/data_source.h"
#include "worker/data/folder.h"
#include "worker/data/spacing.h"
#include "worker/data/utf8.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

class TextSource final : public DataSource {
 public:
  TextSource(std::string training, std::string validation, uint64_t context, const DataOptions& options, DataDescription description)
      : training_(std::move(training)),
        validation_(std::move(validation)),
        context_(context),
        spacing_(Windows(validation_), options.evaluation_batches, options.batch_size),
        description_(std::move(description)) {}

  Batch DrawTraining(CounterRng& rng, uint32_t rows) const override {
    Batch batch = Reserve(rows);
    for (uint32_t i = 0; i < rows; ++i) {
      Append(training_, rng.Below(Windows(training_)), batch);
    }
    return batch;
  }

  uint64_t training_samples() const override { return training_.size() / context_; }

  const DataDescription& description() const override { return description_; }

  uint32_t validation_batches() const override { return spacing_.batches(); }

  Batch Validation(uint32_t index) const override {
    const uint32_t rows = spacing_.RowsOf(index);
    Batch batch = Reserve(rows);
    for (uint32_t i = 0; i < rows; ++i) {
      Append(validation_, spacing_.Place(index, i), batch);
    }
    return batch;
  }

  std::vector<uint64_t> TrainingTargetCounts() const override {
    std::vector<uint64_t> counts(256, 0);
    for (const char byte : training_) {
      ++counts[static_cast<uint8_t>(byte)];
    }
    return counts;
  }

 private:
  // Places where a window of context_ tokens and the target of the last one can start.
  uint64_t Windows(absl::string_view text) const { return text.size() - context_; }

  Batch Reserve(uint32_t rows) const {
    Batch batch;
    batch.rows = rows;
    batch.tokens.reserve(rows * context_);
    batch.targets.reserve(rows * context_);
    return batch;
  }

  void Append(absl::string_view text, uint64_t start, Batch& batch) const {
    for (uint64_t i = start; i < start + context_; ++i) {
      batch.tokens.push_back(static_cast<uint8_t>(text[i]));
      batch.targets.push_back(static_cast<uint8_t>(text[i + 1]));
    }
  }

  const std::string training_;
  const std::string validation_;
  const uint64_t context_;
  const EvenSpacing spacing_;
  const DataDescription description_;
};

absl::Status CheckLength(absl::string_view split, uint64_t bytes, uint64_t context, const DataOptions& options) {
  if (bytes > context) {
    return absl::OkStatus();
  }
  return WithRefusal(
      DataError(absl::StrCat("data folder ", options.folder, ": too little text: ", bytes, " bytes for ", split,
                             " (validation_fraction is ", options.validation_fraction, "), and one sample takes ", context + 1,
                             ": add text, or ask for a run with a shorter context or another validation_fraction")),
      absl::StrCat("too little text for ", split, ": one sample takes ", context + 1, " bytes (the run's context is ", context,
                   ", its validation_fraction ", options.validation_fraction, ")"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> MakeTextSource(const DataOptions& options, int64_t context) {
  TRIBUTARY_ASSIGN_OR_RETURN(const DataFiles found, ListDataFiles(options.folder, ""));
  std::string training, validation;
  uint64_t budget = kMaxDataBytes;
  for (const std::string& file : found.files) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::string text, ReadDataFile(file, budget));
    const size_t valid = ValidUtf8Prefix(text);
    if (valid < text.size()) {
      return DataError(
          absl::StrCat(file, ": byte ", valid, " is not UTF-8: convert the file (iconv -t UTF-8), or move it out of the data folder"));
    }
    const auto held_out = static_cast<size_t>(static_cast<double>(text.size()) * options.validation_fraction);
    training.append(text, 0, text.size() - held_out);
    validation.append(text, text.size() - held_out, held_out);
  }
  const auto length = static_cast<uint64_t>(context);
  TRIBUTARY_RETURN_IF_ERROR(CheckLength("training", training.size(), length, options));
  TRIBUTARY_RETURN_IF_ERROR(CheckLength("validation", validation.size(), length, options));
  const size_t files = found.files.size();
  DataDescription description{
      absl::StrCat(files, files == 1 ? " file, " : " files, ", FormatBytes(static_cast<double>(training.size() + validation.size())),
                   " of text (", FormatBytes(static_cast<double>(training.size())), " for training, ",
                   FormatBytes(static_cast<double>(validation.size())), " for validation)", DescribeLeftOut(found)),
      ""};
  return std::make_unique<TextSource>(std::move(training), std::move(validation), length, options, std::move(description));
}

}  // namespace tributary::worker
