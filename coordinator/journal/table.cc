#include "coordinator/journal/table.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/assert.h"
#include "common/bytes.h"
#include "common/checksum.h"

namespace tributary::coordinator {
namespace {

bool IsType(const ColumnText& column, absl::string_view type) {
  return absl::StartsWith(column.definition, type);
}

// Frozen with the journal's format: every field with its length, so that no two rows run together.
void AddToChecksum(const Value& value, std::string& fields) {
  if (const int64_t* const integer = std::get_if<int64_t>(&value)) {
    AppendLittleEndian(static_cast<uint64_t>(*integer), fields);
  } else if (const double* const real = std::get_if<double>(&value)) {
    AppendLittleEndian(*real, fields);
  } else {
    const absl::string_view bytes = BytesOf(value);
    AppendLittleEndian(static_cast<uint64_t>(bytes.size()), fields);
    AppendLittleEndian(static_cast<uint64_t>(Crc32c(bytes)), fields);
  }
}

}  // namespace

TextTable::TextTable(Database* database, std::string name, std::vector<ColumnText> columns, std::string constraint)
    : database_(database), name_(std::move(name)), columns_(std::move(columns)), constraint_(std::move(constraint)) {}

std::string TextTable::CreateText() const {
  std::vector<std::string> parts;
  for (const ColumnText& column : columns_) {
    if (column.role != Role::kComputed) {
      parts.push_back(absl::StrCat(column.name, " ", column.definition));
    }
  }
  if (!constraint_.empty()) {
    parts.push_back(constraint_);
  }
  return absl::StrCat("CREATE TABLE ", name_, "(", absl::StrJoin(parts, ", "), ") STRICT");
}

std::string TextTable::Select(absl::string_view rest, Part part) const {
  std::vector<absl::string_view> names;
  for (const ColumnText& column : columns_) {
    if (IsRead(column, part)) {
      names.emplace_back(column.name);
    }
  }
  return absl::StrCat("SELECT ", absl::StrJoin(names, ", "), " FROM ", name_, " ", rest);
}

int64_t TextTable::ChecksumOf(const std::vector<Value>& values) const {
  std::string fields;
  AddToChecksum(absl::string_view(name_), fields);
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].role == Role::kGuarded || columns_[i].role == Role::kComputed) {
      AddToChecksum(values[i], fields);
    }
  }
  return Crc32c(fields);
}

bool TextTable::IsSound(const std::vector<Value>& values) const {
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].role == Role::kChecksum) {
      return values[i] == Value(ChecksumOf(values));
    }
  }
  return false;
}

void TextTable::Bind(const ColumnText& column, const Value& value, Query& query) const {
  if (const int64_t* const integer = std::get_if<int64_t>(&value)) {
    query.Int(*integer);
  } else if (const double* const real = std::get_if<double>(&value)) {
    query.Real(*real);
  } else if (std::holds_alternative<std::monostate>(value)) {
    query.Null();
  } else if (IsType(column, "TEXT")) {
    query.Text(BytesOf(value));
  } else {
    query.Blob(BytesOf(value));
  }
}

absl::Status TextTable::Put(absl::string_view verb, const std::vector<Value>& values) {
  std::vector<absl::string_view> names;
  for (const ColumnText& column : columns_) {
    if (column.role != Role::kComputed) {
      names.emplace_back(column.name);
    }
  }
  const std::vector<absl::string_view> places(names.size(), "?");
  Query query(*database_,
              absl::StrCat(verb, " INTO ", name_, "(", absl::StrJoin(names, ", "), ") VALUES(", absl::StrJoin(places, ", "), ")"));
  const Value checksum = ChecksumOf(values);
  for (size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].role != Role::kComputed) {
      Bind(columns_[i], columns_[i].role == Role::kChecksum ? checksum : values[i], query);
    }
  }
  return query.Run();
}

absl::Status TextTable::Insert(const std::vector<Value>& values) {
  return Put("INSERT", values);
}

absl::Status TextTable::Replace(const std::vector<Value>& values) {
  return Put("INSERT OR REPLACE", values);
}

absl::Status TextTable::Update(const std::vector<Value>& values, absl::string_view condition, std::initializer_list<int64_t> arguments) {
  std::vector<size_t> changing;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const Role role = columns_[i].role;
    if (!columns_[i].of_key && role != Role::kComputed && role != Role::kLarge) {
      changing.push_back(i);
    }
  }
  const auto assignment = [this](std::string* out, size_t i) { absl::StrAppend(out, columns_[i].name, " = ?"); };
  Query query(*database_, absl::StrCat("UPDATE ", name_, " SET ", absl::StrJoin(changing, ", ", assignment), " ", condition));
  const Value checksum = ChecksumOf(values);
  for (const size_t i : changing) {
    Bind(columns_[i], columns_[i].role == Role::kChecksum ? checksum : values[i], query);
  }
  for (const int64_t argument : arguments) {
    query.Int(argument);
  }
  return query.Run();
}

std::vector<Value> TextTable::ReadValues(const Query& query, Part part) const {
  std::vector<Value> values;
  int read = 0;
  for (const ColumnText& column : columns_) {
    if (!IsRead(column, part)) {
      values.emplace_back();
    } else if (IsType(column, "INTEGER")) {
      values.emplace_back(query.GetInt(read++));
    } else if (IsType(column, "REAL")) {
      values.emplace_back(query.GetReal(read++));
    } else {
      values.emplace_back(query.GetBytes(read++));
    }
  }
  return values;
}

absl::Status TextTable::CopyTo(TextTable& other, std::vector<Value> blank) const {
  std::vector<size_t> places;
  for (const ColumnText& column : columns_) {
    const auto same = std::find_if(other.columns_.begin(), other.columns_.end(),
                                   [&column](const ColumnText& candidate) { return absl::string_view(candidate.name) == column.name; });
    TRIBUTARY_ASSERT(same != other.columns_.end(), "table ", name_, " has no column ", column.name, " any more");
    places.push_back(static_cast<size_t>(same - other.columns_.begin()));
  }
  Query rows(*database_, Select("ORDER BY rowid"));
  while (true) {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) {
      return absl::OkStatus();
    }
    std::vector<Value> values = ReadValues(rows, Part::kWhole);
    if (!IsSound(values)) {
      return DamagedJournal(database_->path(), absl::StrCat("a row of ", name_, " fails its checksum"));
    }
    for (size_t i = 0; i < values.size(); ++i) {
      blank[places[i]] = std::move(values[i]);
    }
    TRIBUTARY_RETURN_IF_ERROR(other.Insert(blank));
  }
}

}  // namespace tributary::coordinator
