#include "worker/data/csv_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/status_macros.h"
#include "worker/data/folder.h"
#include "worker/data/utf8.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

constexpr absl::string_view kSeparators = ",;|\t";

bool IsLineEnd(char c) {
  return c == '\n' || c == '\r';
}

// A first line "sep=;", by which spreadsheets say what separates the fields; absent: it is another line.
std::optional<absl::string_view> SeparatorNamed(absl::string_view line) {
  absl::ConsumePrefix(&line, "\"");
  if (!absl::StartsWithIgnoreCase(line, "sep=")) {
    return std::nullopt;
  }
  line.remove_prefix(4);
  return line.substr(0, 1);
}

// The one that `line` has most of outside quotes.
char LikeliestSeparator(absl::string_view line) {
  char likeliest = ',';
  int64_t most = 0;
  for (const char candidate : kSeparators) {
    bool quoted = false;
    int64_t count = 0;
    for (const char c : line) {
      quoted ^= c == '"';
      count += !quoted && c == candidate ? 1 : 0;
    }
    if (count > most) {
      likeliest = candidate;
      most = count;
    }
  }
  return likeliest;
}

uint64_t CountLineEnds(absl::string_view text) {
  uint64_t count = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    count += text[i] == '\r' || (text[i] == '\n' && (i == 0 || text[i - 1] != '\r')) ? 1 : 0;
  }
  return count;
}

}  // namespace

absl::StatusOr<CsvReader> CsvReader::Open(std::string file, absl::string_view text, std::optional<char> separator,
                                          QuotedBlanks quoted_blanks) {
  CsvReader reader(std::move(file), text, quoted_blanks);
  TRIBUTARY_RETURN_IF_ERROR(reader.ReadHeader(separator));
  return reader;
}

absl::Status CsvReader::ReadHeader(std::optional<char> separator) {
  bool begins = SkipBlankLines();
  if (const auto named = SeparatorNamed(RestOfLine()); named.has_value()) {
    if (named->empty() || !absl::StrContains(kSeparators, *named)) {
      return Error("fields are separated by a comma, a semicolon, a bar or a tab");
    }
    separator = named->front();
    rest_.remove_prefix(RestOfLine().size());
    SkipLineEnd();
    begins = SkipBlankLines();
  }
  if (!begins) {
    return DataError(absl::StrCat(file_, ": the file is empty; it needs a header row and rows of values"));
  }
  separator_ = separator.value_or(LikeliestSeparator(RestOfLine()));
  TRIBUTARY_RETURN_IF_ERROR(ReadRecord(kMaxColumns, header_).status());
  return header_.size() > kMaxColumns ? Error(absl::StrCat("more than ", kMaxColumns, " columns")) : absl::OkStatus();
}

absl::StatusOr<bool> CsvReader::Next(std::vector<std::string>& fields) {
  TRIBUTARY_ASSIGN_OR_RETURN(const bool more, ReadRecord(header_.size(), fields));
  if (fields.size() > header_.size()) {
    return Error(absl::StrCat("more values than the header, which has ", header_.size()));
  }
  if (more && fields.size() != header_.size()) {
    return Error(absl::StrCat(fields.size(), fields.size() == 1 ? " value" : " values", ", but the header has ", header_.size()));
  }
  return more;
}

absl::Status CsvReader::Error(absl::string_view message) const {
  return DataError(absl::StrCat(file_, ":", line_, ": ", message));
}

absl::Status CsvReader::Misfit(absl::string_view told, absl::string_view here) const {
  return WithRefusal(Error(absl::StrCat(told, here)), told);
}

absl::string_view CsvReader::RestOfLine() const {
  return rest_.substr(0, rest_.find_first_of("\r\n"));
}

void CsvReader::SkipLineEnd() {
  if (!absl::ConsumePrefix(&rest_, "\r\n") && !rest_.empty()) {
    rest_.remove_prefix(1);
  }
  ++next_line_;
}

bool CsvReader::SkipBlankLines() {
  while (!rest_.empty()) {
    const absl::string_view line = RestOfLine();
    line_ = next_line_;
    if (!absl::StripAsciiWhitespace(line).empty() || absl::StrContains(line, separator_)) {
      return true;
    }
    rest_.remove_prefix(line.size());
    SkipLineEnd();
  }
  return false;
}

void CsvReader::SkipBlanks() {
  while (!rest_.empty() && rest_.front() != separator_ && !IsLineEnd(rest_.front()) &&
         absl::ascii_isspace(static_cast<unsigned char>(rest_.front()))) {
    rest_.remove_prefix(1);
  }
}

absl::StatusOr<std::string> CsvReader::TakeQuoted() {
  std::string field;
  rest_.remove_prefix(1);
  while (true) {
    const size_t quote = rest_.find('"');
    if (quote == absl::string_view::npos) {
      return Error("a quoted field is not closed: a quote inside one is written twice");
    }
    field.append(rest_.data(), quote);
    rest_.remove_prefix(quote + 1);
    if (!absl::ConsumePrefix(&rest_, "\"")) {
      break;
    }
    field.push_back('"');
  }
  next_line_ += CountLineEnds(field);
  SkipBlanks();
  if (!rest_.empty() && rest_.front() != separator_ && !IsLineEnd(rest_.front())) {
    return Error("text after the closing quote of a field");
  }
  if (quoted_blanks_ == QuotedBlanks::kStripped) {
    absl::StripAsciiWhitespace(&field);
  }
  return field;
}

absl::StatusOr<bool> CsvReader::ReadRecord(size_t most, std::vector<std::string>& fields) {
  fields.clear();
  if (!SkipBlankLines()) {
    return false;
  }
  const char ends[] = {separator_, '\r', '\n'};
  while (true) {
    SkipBlanks();
    if (absl::StartsWith(rest_, "\"")) {
      TRIBUTARY_ASSIGN_OR_RETURN(std::string field, TakeQuoted());
      fields.push_back(std::move(field));
    } else {
      const absl::string_view plain = rest_.substr(0, rest_.find_first_of(absl::string_view(ends, sizeof(ends))));
      fields.emplace_back(absl::StripTrailingAsciiWhitespace(plain));
      rest_.remove_prefix(plain.size());
    }
    if (rest_.empty() || fields.size() > most) {
      return true;
    }
    if (IsLineEnd(rest_.front()) && separator_ != rest_.front()) {
      SkipLineEnd();
      return true;
    }
    rest_.remove_prefix(1);
  }
}

std::string SeparatorName(char separator) {
  switch (separator) {
    case ',':
      return "comma";
    case ';':
      return "semicolon";
    case '|':
      return "bar";
    case '\t':
      return "tab";
    default:
      return std::string(1, separator);
  }
}

std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", PrintableUtf8(text.substr(0, 40)), text.size() > 40 ? "...'" : "'");
}

}  // namespace tributary::worker
