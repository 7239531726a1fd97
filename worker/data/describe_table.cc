#include "worker/data/describe_table.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/canonical_word.h"
#include "common/status_macros.h"
#include "worker/data/csv_reader.h"
#include "worker/data/folder.h"
#include "worker/data/table_coding.h"
#include "worker/data/table_text.h"
#include "worker/data/utf8.h"

namespace tributary::worker {
namespace {

// What fewer rows have could be about one person.
constexpr uint64_t kFewRows = 5;
// Words of one column that are counted; a column with more is no category.
constexpr size_t kMaxWords = 1000;
constexpr size_t kMaxCategories = 50;
constexpr size_t kMaxOdd = 3;
constexpr size_t kMaxClasses = 20;
// Below it, a whole number that is different in every row is no sign of an identifier.
constexpr uint64_t kManyRows = 20;

constexpr const char* kMissingWords[] = {"NA", "N/A", "n/a", "na", "NaN", "nan", "NULL", "null", "None", "none", "?", "-", ".", "missing"};

std::string Yaml(absl::string_view text) {
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

bool HasControl(absl::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); });
}

struct Profile {
  std::string name;
  uint64_t values = 0;  // that are not missing
  uint64_t missing = 0;
  uint64_t numbers = 0;                 // of the values
  std::map<std::string, uint64_t> odd;  // those that are no numbers, kMaxOdd + 1 at most
  bool whole = true;
  bool repeats = false;  // some word is there twice
  bool many = false;     // more than kMaxWords, which are counted no more
  std::map<std::string, uint64_t> words;

  void Count(const std::string& word) {
    ++values;
    if (many) {
      return;
    }
    repeats |= ++words[CanonicalWord(word)] > 1;
    many = words.size() > kMaxWords;
  }
  // A few words among many numbers are what the site writes where it has none.
  bool IsNumber() const { return odd.empty() ? numbers > 0 : odd.size() <= kMaxOdd && numbers >= values / 2 && numbers >= kFewRows; }
  bool HasGaps() const { return missing > 0 || (IsNumber() && !odd.empty()); }
  std::vector<std::string> Frequent() const {
    std::vector<std::string> frequent;
    for (const auto& [word, rows] : words) {
      if (rows >= kFewRows && !HasControl(word)) {
        frequent.push_back(word);
      }
    }
    return frequent;
  }
};

class Describer {
 public:
  explicit Describer(const CsvFormat& format) : format_(format), missing_{""} {
    for (const std::string& word : format.missing) {
      missing_.insert(CanonicalWord(word));
    }
  }

  absl::Status ReadFile(const std::string& path, uint64_t& budget) {
    TRIBUTARY_ASSIGN_OR_RETURN(const DecodedText text, ReadTableText(path, format_, Utf8::kChecked, budget));
    TRIBUTARY_ASSIGN_OR_RETURN(CsvReader reader, CsvReader::Open(path, text.text, format_.separator, CsvReader::QuotedBlanks::kStripped));
    TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<size_t> places, Bind(reader));
    // Each column by its own first decimal mark: dates such as 01.02 must not make words of the decimal commas beside them.
    std::vector<NumberReader> numbers(places.size(), NumberReader(format_.decimal, reader.separator()));
    std::vector<std::string> fields;
    while (true) {
      TRIBUTARY_ASSIGN_OR_RETURN(const bool more, reader.Next(fields));
      if (!more) {
        return absl::OkStatus();
      }
      for (size_t i = 0; i < fields.size(); ++i) {
        Add(fields[i], reader.line(), numbers[i], profiles_[places[i]]);
      }
    }
  }

  absl::StatusOr<std::string> Propose(const std::string& label_name) const {
    const std::string name = label_name.empty() ? profiles_.back().name : label_name;
    const auto label = std::find_if(profiles_.begin(), profiles_.end(), [&](const Profile& profile) { return profile.name == name; });
    if (label == profiles_.end()) {
      return DataError(absl::StrCat("no column ", Quoted(name), " to predict: choose one with --label"));
    }
    if (name.empty() || HasControl(name)) {
      return DataError(
          absl::StrCat("column ", Quoted(name), " cannot be predicted: it has no name on one line; choose another with --label"));
    }
    std::string columns, left_out;
    size_t inputs = 0;
    for (const Profile& profile : profiles_) {
      if (&profile == &*label) {
        continue;
      }
      if (const std::string why = WhyLeftOut(profile); !why.empty()) {
        absl::StrAppend(&left_out, "  # left out: ", PrintableLine(profile.name), " (", why, ")\n");
      } else {
        absl::StrAppend(&columns, ColumnLine(profile, inputs));
      }
    }
    if (columns.empty()) {
      return DataError(absl::StrCat("no column to learn from besides ", Quoted(name), "\n", left_out));
    }
    const std::vector<std::string> classes = label->Frequent();
    const bool number = label->IsNumber() && (label->many || label->words.size() > kMaxClasses / 2);
    if (!number && (classes.size() < 2 || classes.size() > kMaxClasses)) {
      return DataError(absl::StrCat("column ", Quoted(name), " cannot be predicted: ", classes.size(), " values have ", kFewRows,
                                    " rows or more; choose another with --label"));
    }
    return absl::StrCat(
        "# Proposed from one site's files, without what looks like identifiers. Rows are not persons: read it before you share it. It "
        "tells\n"
        "# the names of columns, and values of categories and labels that at least ",
        kFewRows,
        " rows have, which may all be one person's.\n"
        "# Then decide with the other sites what is written \"?\", and have each of them run tributary-worker data check.\n",
        MissingComment(), "model:\n  mlp: {inputs: ", inputs, ", hidden: [32], outputs: ", number ? 1 : classes.size(),
        number ? ", task: values" : "",
        "}\ndata:\n  kind: csv\n  # ? unit, min and max of each number; aliases: the names that other sites use\n", left_out,
        "  columns:\n", columns, LabelLines(*label, number, classes, label_name.empty()));
  }

 private:
  static std::string PrintableLine(absl::string_view text) {
    return absl::StrReplaceAll(PrintableUtf8(text.substr(0, 100)), {{"\n", " "}});
  }

  absl::StatusOr<std::vector<size_t>> Bind(const CsvReader& reader) {
    const bool first = profiles_.empty();
    std::vector<size_t> places;
    std::vector<bool> taken(reader.header().size());
    for (const std::string& name : reader.header()) {
      if (first && places_.emplace(name, profiles_.size()).second) {
        profiles_.emplace_back().name = name;
      }
      const auto at = places_.find(name);
      if (at == places_.end()) {
        return reader.Error(absl::StrCat("column ", Quoted(name), " is not in the first file: describe files of one kind"));
      }
      taken.resize(profiles_.size());
      if (taken[at->second]) {
        return reader.Error(absl::StrCat("column ", Quoted(name), " appears twice"));
      }
      taken[at->second] = true;
      places.push_back(at->second);
    }
    return places;
  }

  void Add(const std::string& field, uint64_t line, NumberReader& numbers, Profile& profile) {
    if (missing_.count(CanonicalWord(field)) > 0) {
      ++profile.missing;
      return;
    }
    if (std::find(std::begin(kMissingWords), std::end(kMissingWords), field) != std::end(kMissingWords)) {
      ++profile.missing;
      words_for_missing_.insert(field);
      return;
    }
    if (double value = 0; numbers.Read(field, line, value).empty()) {
      ++profile.numbers;
      profile.whole = profile.whole && value == std::floor(value);
    } else if (profile.odd.size() <= kMaxOdd) {
      ++profile.odd[field];
    }
    profile.Count(field);
  }

  // Empty: the model reads it.
  static std::string WhyLeftOut(const Profile& profile) {
    if (profile.name.empty() || HasControl(profile.name)) {
      return "it has no name on one line";
    }
    if (profile.values == 0) {
      return "it is empty";
    }
    if (profile.words.size() < 2 && !profile.many) {
      return "it is always the same";
    }
    if (profile.IsNumber()) {
      return profile.whole && !profile.repeats && profile.values >= kManyRows ? "another whole number in each row: an identifier?" : "";
    }
    if (profile.many || profile.words.size() > kMaxCategories || profile.Frequent().empty()) {
      return "text that differs from row to row: an identifier, a date or free text?";
    }
    return "";
  }

  static std::string ColumnLine(const Profile& profile, size_t& inputs) {
    std::string line = absl::StrCat("    - {name: ", Yaml(profile.name));
    ++inputs;
    if (!profile.IsNumber()) {
      const std::vector<std::string> values = profile.Frequent();
      const bool other = values.size() < profile.words.size();
      inputs += values.size() + (other ? 1 : 0) - 1;
      std::vector<std::string> quoted;
      std::transform(values.begin(), values.end(), std::back_inserter(quoted), [](const std::string& value) { return Yaml(value); });
      absl::StrAppend(&line, ", kind: category, values: [", absl::StrJoin(quoted, ", "), other ? "], other: true" : "]");
    }
    if (profile.HasGaps()) {
      ++inputs;
      absl::StrAppend(&line, ", missing: flag");
    }
    // A number of a case that comes back is there a few times, and a measured whole number of so many rows many times.
    const bool repeated_number =
        profile.IsNumber() && profile.whole && profile.values >= kManyRows && (profile.many || profile.words.size() * 4 >= profile.values);
    if (repeated_number || !profile.IsNumber()) {
      return absl::StrCat(line, "}  # ? does it name a person or case?\n");
    }
    const bool code = profile.IsNumber() && profile.whole && !profile.many && profile.words.size() > 2 && profile.words.size() <= 10;
    return absl::StrCat(line, "}", code ? "  # ? a few whole numbers: if they are codes, kind: category with values" : "", "\n");
  }

  static std::string LabelLines(const Profile& label, bool number, const std::vector<std::string>& classes, bool guessed) {
    std::string lines =
        absl::StrCat("  label:", guessed ? "  # ? the last column; --label chooses another" : "", "\n    name: ", Yaml(label.name), "\n");
    if (label.HasGaps()) {
      absl::StrAppend(&lines, "    missing: drop\n");
    }
    if (number) {
      return absl::StrCat(lines, "    # ? unit; mean and deviation, that the sites agree on what the model predicts\n");
    }
    if (classes.size() < label.words.size()) {
      absl::StrAppend(&lines, "    # ? further labels, which few rows have, are not named here, and are refused\n");
    }
    absl::StrAppend(&lines, "    classes:\n");
    for (const std::string& name : classes) {
      absl::StrAppend(&lines, "      - {name: ", Yaml(name), "}\n");
    }
    return lines;
  }

  std::string MissingComment() const {
    std::set<std::string> words = words_for_missing_;
    bool rare = false;
    for (const Profile& profile : profiles_) {
      for (const auto& [word, rows] : profile.IsNumber() ? profile.odd : std::map<std::string, uint64_t>()) {
        if (rows >= kFewRows && !HasControl(word)) {
          words.insert(word);
        } else {
          rare = true;
        }
      }
    }
    const std::string unnamed = rare ? "# A few fields of numbers hold words that are not named here: data check says where.\n" : "";
    if (words.empty()) {
      return unnamed;
    }
    std::vector<std::string> quoted;
    std::transform(words.begin(), words.end(), std::back_inserter(quoted), [](const std::string& word) { return Yaml(word); });
    return absl::StrCat("# In this site's worker.yaml, for these words were taken to say that a value is missing:\n#   csv: {missing: [",
                        absl::StrJoin(quoted, ", "), "]}\n", unnamed);
  }

  const CsvFormat& format_;
  std::set<std::string> missing_;
  std::set<std::string> words_for_missing_;
  std::vector<Profile> profiles_;
  std::map<std::string, size_t> places_;  // in `profiles_`, by name
};

}  // namespace

absl::StatusOr<std::string> DescribeTable(const std::vector<std::string>& files, const CsvFormat& format, const std::string& label) {
  Describer describer(format);
  uint64_t budget = kMaxDataBytes;
  for (const std::string& file : files) {
    TRIBUTARY_RETURN_IF_ERROR(describer.ReadFile(file, budget));
  }
  return describer.Propose(label);
}

}  // namespace tributary::worker
