#include "coordinator/journal/audit_tables.h"

#include "absl/strings/str_cat.h"
#include "common/merkle_tree.h"
#include "common/status_macros.h"

namespace tributary::coordinator {

void AuditTables::NoteRecord(uint64_t index, std::string record) {
  noted_records_.emplace_back(AuditRecordKey{index}, AuditRecordRow{std::move(record)});
}

void AuditTables::NoteNode(int level, uint64_t index, const Digest& hash) {
  noted_nodes_.emplace_back(AuditNodeKey{level, index}, AuditNodeRow{hash});
}

absl::Status AuditTables::WriteNoted() {
  for (const auto& [key, row] : noted_records_) {
    TRIBUTARY_RETURN_IF_ERROR(records_.Insert(key, row));
  }
  for (const auto& [key, row] : noted_nodes_) {
    TRIBUTARY_RETURN_IF_ERROR(nodes_.Insert(key, row));
  }
  return noted_head_.has_value() ? heads_.Replace(AuditHeadKey{}, AuditHeadRow{*noted_head_}) : absl::OkStatus();
}

void AuditTables::ForgetNoted() {
  noted_records_.clear();
  noted_nodes_.clear();
  noted_head_.reset();
}

absl::StatusOr<uint64_t> AuditTables::Size() {
  Query newest(database_, "SELECT COALESCE(MAX(number) + 1, 0) FROM audit_records");
  TRIBUTARY_RETURN_IF_ERROR(newest.Run());
  return newest.GetUnsigned(0);
}

absl::Status AuditTables::Visit(uint64_t first, uint64_t end, absl::FunctionRef<absl::Status(absl::string_view record)> visit) {
  Query rows(database_, records_.Select("WHERE number >= ? AND number < ? ORDER BY number"), Query::Statement::kOwn);
  rows.Unsigned(first).Unsigned(end);
  for (uint64_t index = first; index < end; ++index) {
    AuditRecordKey key;
    AuditRecordRow row;
    TRIBUTARY_ASSIGN_OR_RETURN(const bool more, records_.Next(rows, key, row, [&] { return absl::StrCat("audit record ", index); }));
    if (!more || key.number != index) {
      return DamagedJournal(database_.path(), absl::StrCat("audit record ", index, " is missing"));
    }
    TRIBUTARY_RETURN_IF_ERROR(visit(row.record));
  }
  return absl::OkStatus();
}

absl::StatusOr<Digest> AuditTables::Node(int level, uint64_t index) {
  const auto named = [&] { return absl::StrCat("audit node ", index, " of level ", level); };
  Query rows(database_, nodes_.Select("WHERE level = ? AND position = ?"));
  rows.Int(level).Unsigned(index);
  AuditNodeKey key;
  AuditNodeRow row;
  TRIBUTARY_ASSIGN_OR_RETURN(const bool found, nodes_.Next(rows, key, row, named));
  return found ? absl::StatusOr<Digest>(row.hash) : DamagedJournal(database_.path(), absl::StrCat(named(), " is missing"));
}

absl::StatusOr<std::string> AuditTables::Head() {
  Query rows(database_, heads_.Select(""));
  AuditHeadKey key;
  AuditHeadRow row;
  TRIBUTARY_RETURN_IF_ERROR(heads_.Next(rows, key, row, [] { return std::string("the audit log's head"); }).status());
  return row.head;
}

absl::StatusOr<uint64_t> AuditTables::CountNodes() {
  Query count(database_, "SELECT COUNT(*) FROM audit_nodes");
  TRIBUTARY_RETURN_IF_ERROR(count.Run());
  return count.GetUnsigned(0);
}

absl::Status AuditTables::Check() {
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t size, Size());
  MerkleFrontier frontier;
  uint64_t nodes = 0;
  TRIBUTARY_RETURN_IF_ERROR(Visit(0, size, [&](absl::string_view record) {
    absl::Status wrong;
    frontier.Append(MerkleLeaf(record), [&](int level, uint64_t index, const Digest& hash) {
      if (level >= kLeastAuditLevel && wrong.ok()) {
        ++nodes;
        const absl::StatusOr<Digest> kept = Node(level, index);
        wrong = !kept.ok()      ? kept.status()
                : *kept != hash ? DamagedJournal(database_.path(), absl::StrCat("the audit log's node ", index, " of level ", level,
                                                                                " is not that of its records"))
                                : absl::OkStatus();
      }
    });
    return wrong;
  }));
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t kept, CountNodes());
  if (kept != nodes) {
    return DamagedJournal(database_.path(), absl::StrCat("the audit log has ", kept, " nodes where its records make ", nodes));
  }
  return Head().status();
}

}  // namespace tributary::coordinator
