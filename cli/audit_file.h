// The audit log as files that anyone checks offline: an export of all records, and the proof of one.
//
// Both are JSON, a line each. An export: first {"tributary_audit_log": 1, "federation": ..., "head": TreeHead}, then for every record
// {"index": ..., "record": its bytes in base64, "says": AuditRecord}. A proof: {"tributary_audit_proof": 1, "federation": ..., "head": ...,
// "index": ..., "record": ..., "says": ..., "proof": [hexadecimal], "certificates": [base64]}. `says` is for people, and nobody relies on
// it.
#ifndef TRIBUTARY_CLI_AUDIT_FILE_H_
#define TRIBUTARY_CLI_AUDIT_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tributary/v1/audit.pb.h"

namespace tributary::cli {

// The lines of an export.
std::string AuditFileHeader(const v1::TreeHead& head, absl::string_view federation);
std::string AuditFileRecord(uint64_t index, absl::string_view record);

struct AuditFile {
  std::string federation;
  v1::TreeHead head;
  std::vector<std::string> records;  // all that the head counts; of a proof: the one
  // Of a proof alone.
  bool is_proof = false;
  uint64_t index = 0;
  std::vector<std::string> proof;         // 32 bytes each
  std::vector<std::string> certificates;  // of the site that signed what the record says; empty: none did
};
// DataLoss, exit code kDamaged: it is neither, or not whole; names the line.
absl::StatusOr<AuditFile> ReadAuditFile(const std::string& path);

// That the head is the one of the records, or the proof leads to it. DataLoss, exit code kDamaged.
absl::Status CheckTree(const AuditFile& file);
// That the log which the file has whole begins with the one of each of these heads. DataLoss likewise.
absl::Status CheckKeptHeads(const AuditFile& file, std::vector<v1::TreeHead> kept);

// The proof of a record of a whole log, as a line. NotFound: it has no such record.
absl::StatusOr<std::string> MakeAuditProof(const AuditFile& file, uint64_t index);

// What a worker kept (heads.jsonl of its state folder): every line that is a head.
absl::StatusOr<std::vector<v1::TreeHead>> ReadKeptHeads(const std::string& path);

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_AUDIT_FILE_H_
