// Where the audit log (coordinator/audit) keeps its records and the hashes over them: rows of the journal.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_AUDIT_STORE_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_AUDIT_STORE_H_

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checksum.h"

namespace tributary::coordinator {

// A part of a Journal, and used as one. What is noted is kept in memory and made durable with the journal's next write of any kind, in the
// same transaction; reads are of what is durable. Errors as of Journal.
class AuditStore {
 public:
  virtual ~AuditStore() = default;

  // The record at `index`: records come in order, without a gap.
  virtual void NoteRecord(uint64_t index, std::string record) = 0;
  // A node of the Merkle tree (common/merkle_tree.h).
  virtual void NoteNode(int level, uint64_t index, const Digest& hash) = 0;
  // In place of the head noted before.
  virtual void NoteHead(std::string head) = 0;

  // How many records there are.
  virtual absl::StatusOr<uint64_t> Size() = 0;
  // Records first..end-1 in order; stops at the first error of `visit`. DataLoss, exit code kDamaged: not all are there.
  virtual absl::Status Visit(uint64_t first, uint64_t end, absl::FunctionRef<absl::Status(absl::string_view record)> visit) = 0;
  // DataLoss, exit code kDamaged: it is not there.
  virtual absl::StatusOr<Digest> Node(int level, uint64_t index) = 0;
  // Empty: none was noted yet.
  virtual absl::StatusOr<std::string> Head() = 0;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_AUDIT_STORE_H_
