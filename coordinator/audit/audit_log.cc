#include "coordinator/audit/audit_log.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/status_macros.h"
#include "coordinator/journal/schema.h"

namespace tributary::coordinator {
namespace {

absl::Status NotKept() {
  return absl::FailedPreconditionError(
      "the journal is in the format of an earlier release and has no audit log; stop the coordinator and run `tributary journal upgrade`");
}

}  // namespace

absl::StatusOr<std::unique_ptr<AuditLog>> AuditLog::Open(Journal* journal, const Clock* clock, const std::string& federation) {
  auto log = absl::WrapUnique(new AuditLog(journal, clock));
  if (!log->kept()) {
    return log;
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t size, log->store_->Size());
  const auto nodes = [&log](int level, uint64_t index) { return log->Node(level, index); };
  TRIBUTARY_ASSIGN_OR_RETURN(log->frontier_, MerkleFrontier::Of(size, nodes));
  if (size == 0) {
    v1::AuditRecord begun;
    begun.mutable_log_begun()->set_federation(federation);
    begun.mutable_log_begun()->set_software_version(TRIBUTARY_VERSION);
    log->Append(std::move(begun));
  }
  return log;
}

void AuditLog::Append(v1::AuditRecord record) {
  if (!kept()) {
    return;
  }
  record.set_unix_ms(absl::ToUnixMillis(clock_.WallNow()));
  std::string bytes = record.SerializeAsString();
  const Digest leaf = MerkleLeaf(bytes);
  store_->NoteRecord(frontier_.size(), std::move(bytes));
  frontier_.Append(leaf, [this](int level, uint64_t index, const Digest& hash) {
    if (level >= kLeastAuditLevel) {
      store_->NoteNode(level, index, hash);
    }
  });
}

absl::StatusOr<Digest> AuditLog::Node(int level, uint64_t index) {
  if (level >= kLeastAuditLevel) {
    return store_->Node(level, index);
  }
  MerkleFrontier part;
  const uint64_t first = index << level;
  TRIBUTARY_RETURN_IF_ERROR(store_->Visit(first, first + (uint64_t{1} << level), [&part](absl::string_view record) {
    part.Append(MerkleLeaf(record));
    return absl::OkStatus();
  }));
  return part.Root();
}

absl::StatusOr<v1::TreeHead> AuditLog::Head() {
  if (!kept()) {
    return NotKept();
  }
  TRIBUTARY_RETURN_IF_ERROR(journal_.Flush());
  v1::TreeHead head;
  head.set_size(frontier_.size());
  head.set_root_hash(DigestBytes(frontier_.Root()));
  head.set_unix_ms(absl::ToUnixMillis(clock_.WallNow()));
  return head;
}

void AuditLog::KeepHead(const v1::TreeHead& head) {
  if (kept()) {
    store_->NoteHead(head.SerializeAsString());
  }
}

absl::StatusOr<std::vector<Digest>> AuditLog::ProveConsistency(uint64_t from, uint64_t to) {
  if (!kept()) {
    return NotKept();
  }
  return ConsistencyProof(from, to, [this](int level, uint64_t index) { return Node(level, index); });
}

absl::StatusOr<std::vector<Digest>> AuditLog::ProveInclusion(uint64_t index, uint64_t size) {
  if (!kept()) {
    return NotKept();
  }
  return InclusionProof(index, size, [this](int level, uint64_t node) { return Node(level, node); });
}

absl::StatusOr<std::vector<std::string>> AuditLog::Read(uint64_t first, uint64_t end, uint64_t max_bytes) {
  if (!kept()) {
    return NotKept();
  }
  std::vector<std::string> records;
  uint64_t bytes = 0;
  const absl::Status visited = store_->Visit(first, end, [&](absl::string_view record) {
    if (!records.empty() && bytes + record.size() > max_bytes) {
      return absl::CancelledError();  // enough
    }
    bytes += record.size();
    records.emplace_back(record);
    return absl::OkStatus();
  });
  if (!visited.ok() && !absl::IsCancelled(visited)) {
    return visited;
  }
  return records;
}

}  // namespace tributary::coordinator
