// The audit log: records of what operators did, which sites came and went, which updates were taken or refused, and what was committed, in
// a Merkle tree (common/merkle_tree.h) of which every head is a promise never to change what is before it.
//
// Rows of the journal, durable in the same transaction as what they record. docs/explanation/audit_log.md says what it proves, and to whom.
#ifndef TRIBUTARY_COORDINATOR_AUDIT_AUDIT_LOG_H_
#define TRIBUTARY_COORDINATOR_AUDIT_AUDIT_LOG_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checksum.h"
#include "common/clock.h"
#include "common/merkle_tree.h"
#include "coordinator/journal/journal.h"
#include "tributary/v1/audit.pb.h"

namespace tributary::coordinator {

// Not thread-safe: used where the journal is, on the coordinator's executor.
class AuditLog {
 public:
  // Goes on where the journal's log ends; an empty one begins with a record that says since when it runs. In a journal without a place for
  // it (format 4 and older) nothing is kept. `journal` and `clock` outlive the log. Errors of reading the journal.
  static absl::StatusOr<std::unique_ptr<AuditLog>> Open(Journal* journal, const Clock* clock, const std::string& federation);
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  // Whether the journal has a place for it.
  bool kept() const { return store_ != nullptr; }

  // Sets the record's time and appends it: durable with the journal's next write of any kind, in the same transaction. So it comes before
  // the write that it is about. Costs no fsync.
  void Append(v1::AuditRecord record);

  // Those that are not durable yet included.
  uint64_t size() const { return frontier_.size(); }

  // The head of all records, unsigned, after they were made durable. Errors of a journal's write.
  absl::StatusOr<v1::TreeHead> Head();
  // Keeps a head that was signed: `tributary audit export` finds the newest in a copy of the journal. Durable with the next write.
  void KeepHead(const v1::TreeHead& head);
  // Of durable records. OutOfRange: not of that many; errors of reading the journal.
  absl::StatusOr<std::vector<Digest>> ProveConsistency(uint64_t from, uint64_t to);
  absl::StatusOr<std::vector<Digest>> ProveInclusion(uint64_t index, uint64_t size);
  // Records first.., up to `end` and till about `max_bytes` have come; at least one, if there is one.
  absl::StatusOr<std::vector<std::string>> Read(uint64_t first, uint64_t end, uint64_t max_bytes);

 private:
  AuditLog(Journal* journal, const Clock* clock) : journal_(*journal), store_(journal->audit()), clock_(*clock) {}

  // A node of the tree of durable records.
  absl::StatusOr<Digest> Node(int level, uint64_t index);

  Journal& journal_;
  AuditStore* const store_;  // null: nothing is kept
  const Clock& clock_;
  MerkleFrontier frontier_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_AUDIT_AUDIT_LOG_H_
