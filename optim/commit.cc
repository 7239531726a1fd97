#include "optim/commit.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/bytes.h"
#include "common/checksum.h"
#include "common/status_macros.h"
#include "optim/options.h"

namespace tributary::optim {
namespace {

constexpr uint8_t kVersion = 1;

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("commit record: ", what));
}

}  // namespace

CommitHead HeadOf(const Commit& commit) {
  return {commit.round, commit.learning_rate, commit.included, commit.payload.size()};
}

std::string EncodeCommitHead(const CommitHead& head) {
  std::string bytes;
  bytes.reserve(kCommitHeadBytes);
  AppendLittleEndian<uint8_t>(kVersion, bytes);
  AppendLittleEndian<uint64_t>(head.round, bytes);
  AppendLittleEndian<float>(head.learning_rate, bytes);
  AppendLittleEndian<uint32_t>(head.included, bytes);
  AppendLittleEndian<uint64_t>(head.payload_bytes, bytes);
  return bytes;
}

std::string EncodeCommit(const Commit& commit) {
  std::string record;
  record.reserve(kCommitHeadBytes + commit.payload.size());
  record.append(EncodeCommitHead(HeadOf(commit)));
  record.append(commit.payload);
  return record;
}

absl::StatusOr<CommitHead> DecodeCommitHead(const StoredBytes& record) {
  std::string scratch;
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view bytes, record.Slice(0, std::min(record.size(), kCommitHeadBytes), scratch));
  ByteReader reader(bytes);
  uint8_t version = 0;
  CommitHead head;
  if (!reader.Read(version)) {
    return Invalid("empty");
  }
  if (version != kVersion) {
    return Invalid(absl::StrCat("version ", version, " is unknown; this program reads version ", kVersion));
  }
  if (!reader.Read(head.round) || !reader.Read(head.learning_rate) || !reader.Read(head.included) || !reader.Read(head.payload_bytes)) {
    return Invalid(absl::StrCat("truncated after ", record.size(), " bytes"));
  }
  if (head.round < 1) {
    return Invalid("round 0; the first is 1");
  }
  if (!std::isfinite(head.learning_rate) || std::signbit(head.learning_rate)) {
    return Invalid(absl::StrCat("learning rate ", head.learning_rate, " is not a finite number >= 0"));
  }
  if (head.included > kMaxWorkers) {
    return Invalid(absl::StrCat(head.included, " updates included; at most ", kMaxWorkers));
  }
  const uint64_t payload_bytes = record.size() - kCommitHeadBytes;
  if (head.payload_bytes != payload_bytes) {
    return Invalid(absl::StrCat("the payload should have ", head.payload_bytes, " bytes, but ", payload_bytes, " follow"));
  }
  if ((head.included == 0) != (payload_bytes == 0)) {
    return Invalid(absl::StrCat(head.included, " updates included, but a payload of ", payload_bytes, " bytes"));
  }
  return head;
}

absl::StatusOr<Commit> DecodeCommit(absl::string_view record) {
  TRIBUTARY_ASSIGN_OR_RETURN(const CommitHead head, DecodeCommitHead(BorrowedBytes(record)));
  return Commit{head.round, head.learning_rate, head.included, std::string(record.substr(kCommitHeadBytes))};
}

absl::StatusOr<Commit> DecodeCommit(std::string&& record) {
  TRIBUTARY_ASSIGN_OR_RETURN(const CommitHead head, DecodeCommitHead(BorrowedBytes(record)));
  record.erase(0, kCommitHeadBytes);
  return Commit{head.round, head.learning_rate, head.included, std::move(record)};
}

std::string CommitRecordPrefix(uint64_t record_bytes) {
  std::string prefix;
  AppendLittleEndian(static_cast<uint32_t>(record_bytes), prefix);
  return prefix;
}

absl::StatusOr<std::vector<std::string>> SplitCommitRecords(std::string&& bytes, uint64_t count) {
  uint32_t length = 0;
  if (count != 1 || !ByteReader(bytes).Read(length) || length != bytes.size() - kCommitRecordPrefixBytes) {
    return SplitCommitRecords(absl::string_view(bytes), count);
  }
  bytes.erase(0, kCommitRecordPrefixBytes);
  std::vector<std::string> records;
  records.push_back(std::move(bytes));
  return records;
}

absl::StatusOr<std::vector<std::string>> SplitCommitRecords(absl::string_view bytes, uint64_t count) {
  std::vector<std::string> records;
  ByteReader reader(bytes);
  while (!reader.rest().empty()) {
    absl::string_view record;
    if (!reader.ReadField<uint32_t>(record)) {
      return absl::DataLossError(absl::StrCat("commit records: record ", records.size(), " is truncated"));
    }
    if (records.size() == count) {
      return absl::DataLossError(absl::StrCat("commit records: more than the ", count, " asked for"));
    }
    records.emplace_back(record);
  }
  if (records.size() != count) {
    return absl::DataLossError(absl::StrCat("commit records: ", records.size(), " came, ", count, " were asked for"));
  }
  return records;
}

Digest ChainHash(const Digest& previous, absl::string_view record) {
  Sha256Hasher hasher;
  hasher.Update(AsBytes(previous));
  hasher.Update(record);
  return hasher.Finish();
}

absl::StatusOr<Digest> ChainHash(const Digest& previous, const StoredBytes& record) {
  Sha256Hasher hasher;
  hasher.Update(AsBytes(previous));
  TRIBUTARY_RETURN_IF_ERROR(ForEachSlice(record, [&hasher](absl::string_view slice) {
    hasher.Update(slice);
    return absl::OkStatus();
  }));
  return hasher.Finish();
}

}  // namespace tributary::optim
