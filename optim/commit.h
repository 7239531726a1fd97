// A commit: the aggregated update of one round, the unit of the log. state[r] = Apply(state[r-1], commit[r]).
#ifndef TRIBUTARY_OPTIM_COMMIT_H_
#define TRIBUTARY_OPTIM_COMMIT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checksum.h"
#include "common/stored_bytes.h"

namespace tributary::optim {

struct Commit {
  uint64_t round = 0;       // 1-based
  float learning_rate = 0;  // finite, >= 0; the step size at the replicas, or what the mode's Apply reads
  uint32_t included = 0;    // updates aggregated; 0: an empty round, the payload is empty and Apply only counts
  std::string payload;      // canonical (docs/reference/wire_format.md)
};

// A commit without its payload, which may be too long for memory.
struct CommitHead {
  uint64_t round = 0;
  float learning_rate = 0;
  uint32_t included = 0;
  uint64_t payload_bytes = 0;
};
CommitHead HeadOf(const Commit& commit);

// A record is its head, so many bytes, and then its payload. Canonical: equal commits have equal bytes.
inline constexpr uint64_t kCommitHeadBytes = 25;
std::string EncodeCommitHead(const CommitHead& head);
std::string EncodeCommit(const Commit& commit);

// InvalidArgument: truncated, trailing bytes, an unknown version, a non-finite learning rate. Of a stored record, only the head is read;
// errors of the storage.
absl::StatusOr<CommitHead> DecodeCommitHead(const StoredBytes& record);
absl::StatusOr<Commit> DecodeCommit(absl::string_view record);
// The same in the record's own memory: a dense payload is as long as the model.
absl::StatusOr<Commit> DecodeCommit(std::string&& record);

// What stands before each record in a download: its length, 4 bytes little-endian, which must be able to hold it.
std::string CommitRecordPrefix(uint64_t record_bytes);
inline constexpr uint64_t kCommitRecordPrefixBytes = 4;

// The records of such bytes. DataLoss: not exactly `count` whole ones.
absl::StatusOr<std::vector<std::string>> SplitCommitRecords(absl::string_view bytes, uint64_t count);
// The same; one record stays in the memory of `bytes`.
absl::StatusOr<std::vector<std::string>> SplitCommitRecords(std::string&& bytes, uint64_t count);

// Hash of the log up to and including `record`: SHA-256(previous || record). The chain starts from the run's layout hash and
// the hash of state[0].
Digest ChainHash(const Digest& previous, absl::string_view record);
// The same of a stored record. Errors of the storage.
absl::StatusOr<Digest> ChainHash(const Digest& previous, const StoredBytes& record);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_COMMIT_H_
