// Records and fields of one file of comma-separated values: RFC 4180, and what is written under its name.
#ifndef TRIBUTARY_WORKER_DATA_CSV_READER_H_
#define TRIBUTARY_WORKER_DATA_CSV_READER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tributary::worker {

// Fields are without the blanks around them, and may be quoted, then also with line ends inside. Lines end as on Unix, Windows or old Macs;
// blank ones are skipped, but not one of tabs that separate fields. Not thread-safe.
class CsvReader {
 public:
  static constexpr size_t kMaxColumns = 1'000'000;

  // Blanks at the ends of what is quoted.
  enum class QuotedBlanks { kKept, kStripped };

  // Reads the header. The separator is what a first line "sep=;" says (a comma, a semicolon, a bar or a tab), else `separator`, else
  // whichever of the four the header has most of, and the comma of those that it has as many of. `text` must outlive the reader; `file` is
  // for messages. DataError: the file is empty, it has more than kMaxColumns, or as Next.
  static absl::StatusOr<CsvReader> Open(std::string file, absl::string_view text, std::optional<char> separator,
                                        QuotedBlanks quoted_blanks = QuotedBlanks::kKept);

  const std::vector<std::string>& header() const { return header_; }
  char separator() const { return separator_; }

  // The next record, as long as the header; false: there is none. DataError with file and line: a record of another length, a quoted field
  // that does not close, or text after it.
  absl::StatusOr<bool> Next(std::vector<std::string>& fields);

  // Where the newest record began, from 1.
  uint64_t line() const { return line_; }
  // DataError at that place.
  absl::Status Error(absl::string_view message) const;
  // It is the run that does not fit, which others are told in the words of `told`; `here` tells more, at this site.
  absl::Status Misfit(absl::string_view told, absl::string_view here = "") const;

 private:
  CsvReader(std::string file, absl::string_view text, QuotedBlanks quoted_blanks)
      : file_(std::move(file)), quoted_blanks_(quoted_blanks), rest_(text) {}

  absl::Status ReadHeader(std::optional<char> separator);
  bool SkipBlankLines();
  absl::string_view RestOfLine() const;
  void SkipLineEnd();
  void SkipBlanks();
  absl::StatusOr<std::string> TakeQuoted();
  // No more than `most` fields and one are looked at: a line of nothing but separators must not take many times its length of memory.
  absl::StatusOr<bool> ReadRecord(size_t most, std::vector<std::string>& fields);

  const std::string file_;
  const QuotedBlanks quoted_blanks_;
  absl::string_view rest_;
  std::vector<std::string> header_;
  char separator_ = ',';
  uint64_t line_ = 1;
  uint64_t next_line_ = 1;
};

// "comma", "semicolon", "bar", "tab", or the character itself.
std::string SeparatorName(char separator);

// What a file says, for a message: short and safe to print.
std::string Quoted(absl::string_view text);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_CSV_READER_H_
