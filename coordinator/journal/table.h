// A table described once, as a list of its columns. Its CREATE TABLE, INSERT, UPDATE and SELECT, the checksum in every row and what reads a
// row back all follow from that list (coordinator/journal/schema.h), so that a new column is one line of it.
//
// A row is two C++ values: an Entity, one of the interface's structs, and a Key, what the journal itself adds to it. Columns bind to their
// members, so that what is written is not copied first.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_TABLE_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/status_macros.h"
#include "coordinator/journal/column_codec.h"
#include "coordinator/journal/journal_format.h"
#include "coordinator/journal/sqlite_database.h"

namespace tributary::coordinator {

// What a column is to the checksum of its row.
enum class Role {
  kGuarded,    // counts
  kUnguarded,  // does not: nothing follows from its value
  kLarge,      // does not: it has a checksum of its own, in another column. Read with Part::kWhole alone, and never updated
  kComputed,   // counts, and is not stored: SQLite computes it from the columns that are
  kChecksum,   // is the checksum
};

// Which columns a SELECT reads.
enum class Part { kWhole, kWithoutLarge };

struct ColumnText {
  const char* name;        // kComputed: the expression
  const char* definition;  // what follows the name in CREATE TABLE: its type, then its constraints
  Role role;
  int64_t since;  // the first format that has it
  bool of_key;    // written once, with its row
};

template <typename Key, typename Entity>
struct Column {
  ColumnText text;
  Value (*encode)(const Key&, const Entity&);
  bool (*decode)(const Value&, Key&, Entity&);

  // Bound to a member of Key or Entity.
  template <auto member>
  static constexpr Column Of(const char* name, const char* definition, Role role = Role::kGuarded, int64_t since = kOldestFormat) {
    constexpr bool kOfKey = std::is_invocable_v<decltype(member), const Key&>;
    return {{name, definition, role, since, kOfKey},
            [](const Key& key, const Entity& entity) {
              if constexpr (kOfKey) {
                return Encode(key.*member);
              } else {
                return Encode(entity.*member);
              }
            },
            [](const Value& stored, Key& key, Entity& entity) {
              if constexpr (kOfKey) {
                return Decode(stored, key.*member);
              } else {
                return Decode(stored, entity.*member);
              }
            }};
  }
  static constexpr Column Checksum() {
    return {{"crc", "INTEGER NOT NULL", Role::kChecksum, kOldestFormat, /*of_key=*/false},
            [](const Key&, const Entity&) { return Value(); },
            [](const Value&, Key&, Entity&) { return true; }};
  }
};

// `columns` in the order in which the table has them and the checksum counts them.
template <typename Key, typename Entity>
struct TableSpec {
  const char* name;
  absl::Span<const Column<Key, Entity>> columns;
  const char* constraint = "";
  int64_t since = kOldestFormat;  // the first format that has it
};

// What follows from the texts of a table's columns: its SQL, and rows as lists of values, one for each column. Not thread-safe.
class TextTable {
 public:
  // `database` outlives it.
  TextTable(Database* database, std::string name, std::vector<ColumnText> columns, std::string constraint);

  std::string CreateText() const;
  // "SELECT columns FROM table `rest`".
  std::string Select(absl::string_view rest, Part part = Part::kWhole) const;

  absl::Status Insert(const std::vector<Value>& values);
  // A row of the same key goes.
  absl::Status Replace(const std::vector<Value>& values);
  // Sets every column that may change in the row that `condition` (WHERE ...) names.
  absl::Status Update(const std::vector<Value>& values, absl::string_view condition, std::initializer_list<int64_t> arguments);

  // The row that `query`, a Select of that part, stands on.
  std::vector<Value> ReadValues(const Query& query, Part part) const;
  // Whether the row's checksum is that of its values.
  bool IsSound(const std::vector<Value>& values) const;

  // Inserts every row of this table into the one of the same name in another format. `blank` are the values that columns get which are not
  // in this one. DataLoss, exit code kDamaged: a row fails its checksum.
  absl::Status CopyTo(TextTable& other, std::vector<Value> blank) const;

 private:
  bool IsRead(const ColumnText& column, Part part) const { return part == Part::kWhole || column.role != Role::kLarge; }
  int64_t ChecksumOf(const std::vector<Value>& values) const;
  // `value` must outlive the query.
  void Bind(const ColumnText& column, const Value& value, Query& query) const;
  absl::Status Put(absl::string_view verb, const std::vector<Value>& values);

  Database* const database_;
  const std::string name_;
  const std::vector<ColumnText> columns_;
  const std::string constraint_;
};

// The table of that spec in a database of that format. Not thread-safe.
template <typename Key, typename Entity>
class Table {
 public:
  // `database` outlives it.
  Table(Database* database, const TableSpec<Key, Entity>& spec, int64_t format)
      : database_(database), columns_(ColumnsOf(spec, format)), text_(database, spec.name, TextsOf(columns_), spec.constraint) {}

  const TextTable& text() const { return text_; }
  std::string Select(absl::string_view rest, Part part = Part::kWhole) const { return text_.Select(rest, part); }

  // Inside a transaction.
  absl::Status Insert(const Key& key, const Entity& entity) { return text_.Insert(Encoded(key, entity)); }
  absl::Status Replace(const Key& key, const Entity& entity) { return text_.Replace(Encoded(key, entity)); }
  absl::Status Update(const Key& key, const Entity& entity, absl::string_view condition, std::initializer_list<int64_t> arguments) {
    return text_.Update(Encoded(key, entity), condition, arguments);
  }

  // Reads the next row of `rows`, a Select of that part. False: there is none. DataLoss, exit code kDamaged: it fails its checksum, or
  // holds what no value has as its bytes; `named` names the row in the message, and may look at the numbers that were read.
  absl::StatusOr<bool> Next(Query& rows, Key& key, Entity& entity, absl::FunctionRef<std::string()> named, Part part = Part::kWhole) const {
    TRIBUTARY_ASSIGN_OR_RETURN(const bool found, rows.Step());
    if (!found) {
      return false;
    }
    const std::vector<Value> values = text_.ReadValues(rows, part);
    const bool sound = text_.IsSound(values);
    bool decoded = true;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const bool skipped = part == Part::kWithoutLarge && columns_[i].text.role == Role::kLarge;
      // Of a damaged row only the numbers are worth a look.
      if (!skipped && (sound || std::holds_alternative<int64_t>(values[i]))) {
        decoded = columns_[i].decode(values[i], key, entity) && decoded;
      }
    }
    if (!sound || !decoded) {
      return DamagedJournal(database_->path(), absl::StrCat(named(), sound ? " cannot be read" : " fails its checksum"));
    }
    return true;
  }

  // Inserts every row of it into the same table of another format, with columns that this one has not as those of an empty row.
  absl::Status CopyTo(Table& other) const {
    const Key key;
    const Entity entity;
    return text_.CopyTo(other.text_, other.Encoded(key, entity));
  }

 private:
  static std::vector<Column<Key, Entity>> ColumnsOf(const TableSpec<Key, Entity>& spec, int64_t format) {
    std::vector<Column<Key, Entity>> columns;
    for (const Column<Key, Entity>& column : spec.columns) {
      if (column.text.since <= format) {
        columns.push_back(column);
      }
    }
    return columns;
  }
  static std::vector<ColumnText> TextsOf(const std::vector<Column<Key, Entity>>& columns) {
    std::vector<ColumnText> texts;
    for (const Column<Key, Entity>& column : columns) {
      texts.push_back(column.text);
    }
    return texts;
  }
  std::vector<Value> Encoded(const Key& key, const Entity& entity) const {
    std::vector<Value> values;
    for (const Column<Key, Entity>& column : columns_) {
      values.push_back(column.encode(key, entity));
    }
    return values;
  }

  Database* const database_;
  const std::vector<Column<Key, Entity>> columns_;
  TextTable text_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_TABLE_H_
