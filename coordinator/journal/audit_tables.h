// The audit log's rows in SQLite.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_AUDIT_TABLES_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_AUDIT_TABLES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checksum.h"
#include "coordinator/journal/audit_store.h"
#include "coordinator/journal/schema.h"
#include "coordinator/journal/sqlite_database.h"
#include "coordinator/journal/table.h"

namespace tributary::coordinator {

// WriteNoted in a transaction that the caller began, ForgetNoted once that is durable. Not thread-safe.
class AuditTables final : public AuditStore {
 public:
  // `database` outlives it; `format` has them.
  AuditTables(Database* database, int64_t format)
      : database_(*database),
        records_(database, kAuditRecords, format),
        nodes_(database, kAuditNodes, format),
        heads_(database, kAuditHeads, format) {}

  void NoteRecord(uint64_t index, std::string record) override;
  void NoteNode(int level, uint64_t index, const Digest& hash) override;
  void NoteHead(std::string head) override { noted_head_ = std::move(head); }
  absl::StatusOr<uint64_t> Size() override;
  absl::Status Visit(uint64_t first, uint64_t end, absl::FunctionRef<absl::Status(absl::string_view record)> visit) override;
  absl::StatusOr<Digest> Node(int level, uint64_t index) override;
  absl::StatusOr<std::string> Head() override;

  bool HasNotes() const { return !noted_records_.empty() || noted_head_.has_value(); }
  absl::Status WriteNoted();
  void ForgetNoted();

  // Every row: that it is sound, that no record is missing, and that the nodes are those of the records.
  absl::Status Check();

 private:
  absl::StatusOr<uint64_t> CountNodes();

  Database& database_;
  Table<AuditRecordKey, AuditRecordRow> records_;
  Table<AuditNodeKey, AuditNodeRow> nodes_;
  Table<AuditHeadKey, AuditHeadRow> heads_;
  std::vector<std::pair<AuditRecordKey, AuditRecordRow>> noted_records_;
  std::vector<std::pair<AuditNodeKey, AuditNodeRow>> noted_nodes_;
  std::optional<std::string> noted_head_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_AUDIT_TABLES_H_
