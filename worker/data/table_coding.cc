#include "worker/data/table_coding.h"

#include <charconv>
#include <cmath>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/canonical_word.h"
#include "worker/data/csv_reader.h"

namespace tributary::worker {
namespace {

constexpr size_t kMaxNamed = 8;

bool ParseFinite(absl::string_view text, double& value) {
  if (absl::StartsWith(text, "+")) {
    text.remove_prefix(1);
  }
  const char* const end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, value);
  return result.ec == std::errc() && result.ptr == end && std::isfinite(static_cast<float>(value));
}

const char* MarkName(char mark) {
  return mark == ',' ? "commas" : "points";
}

}  // namespace

void Vocabulary::Add(absl::string_view word, int64_t meaning) {
  words_.emplace(CanonicalWord(word), meaning);
}

std::optional<int64_t> Vocabulary::Find(absl::string_view word) const {
  if (words_.empty()) {
    return std::nullopt;
  }
  const auto found = words_.find(CanonicalWord(word));
  return found != words_.end() ? std::make_optional(found->second) : std::nullopt;
}

std::string Vocabulary::Words() const {
  std::string words;
  size_t named = 0;
  for (const auto& [word, meaning] : words_) {
    if (named == kMaxNamed) {
      return absl::StrCat(words, " and ", words_.size() - named, " more");
    }
    absl::StrAppend(&words, named++ > 0 ? ", " : "", Quoted(word));
  }
  return words;
}

TableCoding MakeCoding(TableSchema schema, CsvFormat format) {
  TableCoding coding;
  for (const TableColumn& column : schema.columns) {
    Vocabulary& vocabulary = coding.categories.emplace_back();
    for (size_t i = 0; i < column.values.size(); ++i) {
      vocabulary.Add(column.values[i], static_cast<int64_t>(i));
    }
  }
  for (size_t i = 0; i < schema.label.classes.size(); ++i) {
    const TableClass& one = schema.label.classes[i];
    for (const std::string& value : one.values.empty() ? std::vector<std::string>{one.name} : one.values) {
      coding.classes.Add(value, static_cast<int64_t>(i));
    }
  }
  for (const std::string& word : format.missing) {
    coding.missing.Add(word, 0);
  }
  coding.schema = std::move(schema);
  coding.format = std::move(format);
  return coding;
}

std::string NumberReader::Read(absl::string_view text, uint64_t line, double& value) {
  const bool comma = absl::StrContains(text, ',');
  const bool point = absl::StrContains(text, '.');
  if (comma && point) {
    return absl::StrCat(Quoted(text), " is not a finite number: separators of thousands are not read");
  }
  if (!comma) {
    if (!ParseFinite(text, value)) {
      return absl::StrCat(Quoted(text), " is not a finite number");
    }
  } else if (!ParseFinite(absl::StrReplaceAll(text, {{",", "."}}), value)) {
    return absl::StrCat(Quoted(text), " is not a finite number");
  }
  if (!comma && !point) {
    return "";
  }
  const char mark = comma ? ',' : '.';
  if (!decimal_.has_value()) {
    if (comma && separator_ == ',') {
      return absl::StrCat(Quoted(text), " has a decimal comma where commas separate the fields: if this site writes numbers so, say ",
                          "csv: {decimal: comma} in worker.yaml");
    }
    decimal_ = mark;
    decided_in_ = line;
  }
  if (*decimal_ == mark) {
    return "";
  }
  return absl::StrCat(Quoted(text), " has a decimal ", comma ? "comma" : "point", ", and ",
                      decided_in_ == 0 ? "csv.decimal in worker.yaml says" : absl::StrCat("line ", decided_in_, " of this file has"),
                      " decimal ", MarkName(*decimal_), ": write all numbers alike, without separators of thousands");
}

}  // namespace tributary::worker
