#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/bytes.h"
#include "common/checksum.h"
#include "common/format_bytes.h"
#include "common/status_macros.h"
#include "worker/data/data_source.h"
#include "worker/data/folder.h"
#include "worker/data/spacing.h"
#include "worker/data/utf8.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

// Rows of one split, row-major.
struct Table {
  std::vector<float> features;
  std::vector<int64_t> labels;
  uint64_t rows() const { return labels.size(); }
};

class CsvSource final : public DataSource {
 public:
  CsvSource(Table training, Table validation, const TableOptions& table, const DataOptions& options, DataDescription description)
      : training_(std::move(training)),
        validation_(std::move(validation)),
        columns_(static_cast<size_t>(table.inputs)),
        classes_(static_cast<size_t>(table.outputs)),
        spacing_(validation_.rows(), options.evaluation_batches, options.batch_size),
        description_(std::move(description)) {}

  Batch DrawTraining(CounterRng& rng, uint32_t rows) const override {
    Batch batch = Reserve(rows);
    for (uint32_t i = 0; i < rows; ++i) {
      Append(training_, rng.Below(training_.rows()), batch);
    }
    return batch;
  }

  uint64_t training_samples() const override { return training_.rows(); }

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
    std::vector<uint64_t> counts(classes_, 0);
    for (const int64_t label : training_.labels) {
      ++counts[static_cast<size_t>(label)];
    }
    return counts;
  }

 private:
  Batch Reserve(uint32_t rows) const {
    Batch batch;
    batch.rows = rows;
    batch.features.reserve(rows * columns_);
    batch.targets.reserve(rows);
    return batch;
  }

  void Append(const Table& table, uint64_t row, Batch& batch) const {
    const auto first = table.features.begin() + static_cast<ptrdiff_t>(row * columns_);
    batch.features.insert(batch.features.end(), first, first + static_cast<ptrdiff_t>(columns_));
    batch.targets.push_back(table.labels[row]);
  }

  const Table training_;
  const Table validation_;
  const size_t columns_;
  const size_t classes_;
  const EvenSpacing spacing_;
  const DataDescription description_;
};

// Walks through a file line by line, with the place for messages.
class LineReader {
 public:
  LineReader(absl::string_view file, absl::string_view text) : file_(file), rest_(text) {}

  // The next line that is not blank, without its line end: that of Unix, Windows or old Macs.
  bool Next(absl::string_view& line) {
    while (!rest_.empty()) {
      line = rest_.substr(0, rest_.find_first_of("\r\n"));
      rest_.remove_prefix(line.size());
      if (!absl::ConsumePrefix(&rest_, "\r\n") && !rest_.empty()) {
        rest_.remove_prefix(1);
      }
      ++number_;
      if (!absl::StripAsciiWhitespace(line).empty()) {
        return true;
      }
    }
    return false;
  }

  absl::Status Error(absl::string_view message) const { return DataError(absl::StrCat(file_, ":", number_, ": ", message)); }
  // It is the run that does not fit; `here` tells more, at this site.
  absl::Status Misfit(absl::string_view told, absl::string_view here = "") const {
    return WithRefusal(Error(absl::StrCat(told, here)), told);
  }

 private:
  absl::string_view file_;
  absl::string_view rest_;
  uint64_t number_ = 0;
};

// A first line "sep=;", by which spreadsheets say what separates the fields; absent: it is another line.
std::optional<absl::string_view> SeparatorNamed(absl::string_view line) {
  absl::ConsumePrefix(&line, "\"");
  if (!absl::StartsWithIgnoreCase(line, "sep=")) {
    return std::nullopt;
  }
  line.remove_prefix(4);
  return line.substr(0, 1);
}

bool IsBlank(char c, char separator) {
  return c != separator && absl::ascii_isspace(static_cast<unsigned char>(c));
}

void SkipBlanks(absl::string_view& text, char separator) {
  while (!text.empty() && IsBlank(text.front(), separator)) {
    text.remove_prefix(1);
  }
}

// The fields of one line (RFC 4180, without line breaks inside quotes), without the blanks around them.
absl::StatusOr<std::vector<std::string>> SplitLine(const LineReader& reader, absl::string_view line, char separator) {
  std::vector<std::string> fields;
  while (true) {
    SkipBlanks(line, separator);
    std::string field;
    if (absl::StartsWith(line, "\"")) {
      line.remove_prefix(1);
      while (true) {
        const size_t quote = line.find('"');
        if (quote == absl::string_view::npos) {
          return reader.Error("a quoted field is not closed on its line");
        }
        field.append(line.data(), quote);
        line.remove_prefix(quote + 1);
        if (!absl::StartsWith(line, "\"")) {
          break;
        }
        field.push_back('"');
        line.remove_prefix(1);
      }
      SkipBlanks(line, separator);
      if (!line.empty() && line[0] != separator) {
        return reader.Error("text after the closing quote of a field");
      }
    } else {
      const absl::string_view plain = line.substr(0, line.find(separator));
      field = std::string(absl::StripTrailingAsciiWhitespace(plain));
      line.remove_prefix(plain.size());
    }
    fields.push_back(std::move(field));
    if (line.empty()) {
      return fields;
    }
    line.remove_prefix(1);
  }
}

// Finite as fp32, too.
bool ParseFinite(absl::string_view text, double& value) {
  if (absl::StartsWith(text, "+")) {
    text.remove_prefix(1);
  }
  const char* const end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, value);
  return result.ec == std::errc() && result.ptr == end && std::isfinite(static_cast<float>(value));
}

// What a file says, for a message: short and safe to print.
std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", PrintableUtf8(text.substr(0, 40)), text.size() > 40 ? "...'" : "'");
}

class CsvReader {
 public:
  CsvReader(const DataOptions& options, const TableOptions& table) : options_(options), table_(table) {}

  absl::Status ReadFile(absl::string_view file, absl::string_view text) {
    LineReader reader(file, text);
    absl::string_view line;
    char separator = ',';
    bool begins = reader.Next(line);
    if (const auto named = begins ? SeparatorNamed(line) : std::nullopt; named.has_value()) {
      if (named->empty() || !absl::StrContains(",;|\t", *named)) {
        return reader.Error("fields are separated by a comma, a semicolon, a bar or a tab");
      }
      separator = named->front();
      begins = reader.Next(line);
    }
    ++files_;
    bytes_ += text.size();
    if (!begins) {
      return DataError(absl::StrCat(file, ": the file is empty; it needs a header row and rows of numbers"));
    }
    TRIBUTARY_ASSIGN_OR_RETURN(std::vector<std::string> header, SplitLine(reader, line, separator));
    TRIBUTARY_RETURN_IF_ERROR(SetHeader(reader, file, std::move(header), line));
    while (reader.Next(line)) {
      TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> fields, SplitLine(reader, line, separator));
      TRIBUTARY_RETURN_IF_ERROR(AddRow(reader, fields));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<DataSource>> Finish(const DataFiles& found) {
    if (training_.rows() == 0 || validation_.rows() == 0) {
      return WithRefusal(DataError(absl::StrCat("data folder ", options_.folder, ": too few rows: ", row_, " with validation_fraction ",
                                                options_.validation_fraction, " leave ", training_.rows(), " for training and ",
                                                validation_.rows(), " for validation: add rows")),
                         absl::StrCat("too few rows for the run's data.validation_fraction, ", options_.validation_fraction));
    }
    Standardise();
    DataDescription description{
        absl::StrCat(files_, files_ == 1 ? " file, " : " files, ", FormatBytes(static_cast<double>(bytes_)), ", ", row_, " rows (",
                     training_.rows(), " for training, ", validation_.rows(), " for validation), ", table_.inputs,
                     table_.inputs == 1 ? " column" : " columns", " besides the label", DescribeLeftOut(found)),
        ColumnsDigest()};
    return std::make_unique<CsvSource>(std::move(training_), std::move(validation_), table_, options_, std::move(description));
  }

 private:
  absl::Status SetHeader(const LineReader& reader, absl::string_view file, std::vector<std::string> header, absl::string_view line) {
    if (!header_.empty()) {
      if (header == header_) {
        return absl::OkStatus();
      }
      return reader.Error(
          absl::StrCat("the header differs from that of ", first_file_, ": all files need the same columns in the same order"));
    }
    if (header.size() == 1 && line.find_first_of(";\t") != absl::string_view::npos) {
      return reader.Error("fields must be separated by commas, or a first line must say by what, as 'sep=;' does");
    }
    std::vector<std::string> sorted = header;
    std::sort(sorted.begin(), sorted.end());
    const auto repeated = std::adjacent_find(sorted.begin(), sorted.end());
    if (repeated != sorted.end()) {
      return reader.Error(absl::StrCat("column ", Quoted(*repeated), " appears twice"));
    }
    const auto label = std::find(header.begin(), header.end(), table_.label_column);
    if (label == header.end()) {
      return reader.Misfit(absl::StrCat("no column ", Quoted(table_.label_column), " (the run's data.label_column)"),
                           absl::StrCat("; the columns are: ", PrintableUtf8(absl::StrJoin(header, ", ").substr(0, 400))));
    }
    if (static_cast<int64_t>(header.size()) - 1 != table_.inputs) {
      return reader.Misfit(
          absl::StrCat(header.size() - 1, " columns besides the label, but the run's model takes ", table_.inputs, " (model.mlp.inputs)"));
    }
    label_index_ = static_cast<size_t>(label - header.begin());
    header_ = std::move(header);
    first_file_ = std::string(file);
    return absl::OkStatus();
  }

  absl::Status AddRow(const LineReader& reader, const std::vector<std::string>& fields) {
    if (fields.size() != header_.size()) {
      return reader.Error(absl::StrCat(fields.size(), fields.size() == 1 ? " value" : " values", ", but the header has ", header_.size()));
    }
    // Row i is held out when floor(i * fraction) steps: every tenth row for .1, whatever the seed.
    const double fraction = options_.validation_fraction;
    const bool held_out = std::floor(static_cast<double>(row_ + 1) * fraction) > std::floor(static_cast<double>(row_) * fraction);
    Table& table = held_out ? validation_ : training_;
    for (size_t i = 0; i < fields.size(); ++i) {
      double value = 0;
      if (!ParseFinite(fields[i], value)) {
        return reader.Error(
            absl::StrCat("column ", Quoted(header_[i]), ": ",
                         fields[i].empty() ? "an empty field" : absl::StrCat(Quoted(fields[i]), " is not a finite number")));
      }
      if (i != label_index_) {
        table.features.push_back(static_cast<float>(value));
      } else if (value != std::floor(value) || value < 0 || value >= static_cast<double>(table_.outputs)) {
        const std::string range =
            absl::StrCat(" is not an integer from 0 to ", table_.outputs - 1, " (the run's model.mlp.outputs is ", table_.outputs, ")");
        return WithRefusal(reader.Error(absl::StrCat("label ", Quoted(fields[i]), range)), absl::StrCat("a label", range));
      } else {
        table.labels.push_back(static_cast<int64_t>(value));
      }
    }
    ++row_;
    return absl::OkStatus();
  }

  // Of the names in their order, each after its length; where the label stands does not matter.
  std::string ColumnsDigest() const {
    std::string names = "tributary columns 1\n";
    for (size_t i = 0; i < header_.size(); ++i) {
      if (i != label_index_) {
        AppendLittleEndian(static_cast<uint32_t>(header_[i].size()), names);
        names.append(header_[i]);
      }
    }
    return DigestBytes(Sha256(names));
  }

  // Mean 0 and standard deviation 1 over the training rows; a column that is constant there is only shifted.
  void Standardise() {
    const auto columns = static_cast<size_t>(table_.inputs);
    for (size_t c = 0; c < columns; ++c) {
      const auto rows = static_cast<double>(training_.rows());
      double sum = 0;
      for (size_t i = c; i < training_.features.size(); i += columns) {
        sum += training_.features[i];
      }
      const double mean = sum / rows;
      double squares = 0;
      for (size_t i = c; i < training_.features.size(); i += columns) {
        const double centred = training_.features[i] - mean;
        squares += centred * centred;
      }
      const double deviation = std::sqrt(squares / rows);
      const double scale = deviation > 0 ? 1.0 / deviation : 1.0;
      for (Table* table : {&training_, &validation_}) {
        for (size_t i = c; i < table->features.size(); i += columns) {
          table->features[i] = static_cast<float>((table->features[i] - mean) * scale);
        }
      }
    }
  }

  const DataOptions& options_;
  const TableOptions& table_;
  std::vector<std::string> header_;
  std::string first_file_;
  size_t label_index_ = 0;
  uint64_t row_ = 0;
  uint64_t files_ = 0;
  uint64_t bytes_ = 0;
  Table training_;
  Table validation_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSource>> MakeCsvSource(const DataOptions& options, const TableOptions& table) {
  TRIBUTARY_ASSIGN_OR_RETURN(const DataFiles found, ListDataFiles(options.folder, ".csv"));
  CsvReader reader(options, table);
  uint64_t budget = kMaxDataBytes;
  for (const std::string& file : found.files) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::string text, ReadDataFile(file, budget));
    TRIBUTARY_RETURN_IF_ERROR(reader.ReadFile(file, text));
  }
  return reader.Finish(found);
}

}  // namespace tributary::worker
