#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/format_bytes.h"
#include "common/status_macros.h"
#include "worker/data/data_source.h"
#include "worker/data/folder.h"
#include "worker/data/utf8.h"
#include "worker/data/window_source.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

constexpr size_t kBytes = 256;  // the vocabulary

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
  return std::make_unique<WindowSource<std::string>>(std::move(training), std::move(validation), length, kBytes, options,
                                                     std::move(description));
}

}  // namespace tributary::worker
