// How fields of a table become cells and labels.
#ifndef TRIBUTARY_WORKER_DATA_TABLE_CODING_H_
#define TRIBUTARY_WORKER_DATA_TABLE_CODING_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "worker/data/csv_format.h"
#include "worker/data/table_schema.h"

namespace tributary::worker {

// Words and what they stand for. A whole number is found however it is written (common/canonical_word.h).
class Vocabulary {
 public:
  void Add(absl::string_view word, int64_t meaning);
  std::optional<int64_t> Find(absl::string_view word) const;
  // "'a', 'b' and 5 more", for messages.
  std::string Words() const;

 private:
  std::map<std::string, int64_t, std::less<>> words_;
};

// A schema with its lookups. Immutable after it is made.
struct TableCoding {
  // What the run says; or, where it says nothing of columns, its label and all other columns as numbers.
  enum class Origin { kRun, kHeader };

  TableSchema schema;
  Origin origin = Origin::kRun;
  int64_t outputs = 0;  // kHeader with classes: the labels are 0..outputs-1
  CsvFormat format;
  std::vector<Vocabulary> categories;  // one for each column
  Vocabulary classes;
  Vocabulary missing;  // words besides the empty field

  bool IsMissing(absl::string_view field) const { return field.empty() || missing.Find(field).has_value(); }
};

// `format`: of this site's files.
TableCoding MakeCoding(TableSchema schema, CsvFormat format);

// Reads the numbers of one file, which has decimal points or decimal commas, but not both.
class NumberReader {
 public:
  // `decimal`: '.' or ',', as the site says; absent: the first number with one of them decides, though not for a comma where commas
  // separate the fields.
  NumberReader(std::optional<char> decimal, char separator) : decimal_(decimal), separator_(separator) {}

  // "" and `value`, finite as fp32, too; or what is wrong, for people: "'two' is not a finite number". `line`: where it stands.
  std::string Read(absl::string_view text, uint64_t line, double& value);

  std::optional<char> decimal() const { return decimal_; }

 private:
  std::optional<char> decimal_;
  const char separator_;
  uint64_t decided_in_ = 0;  // a line; 0: by the site
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_TABLE_CODING_H_
