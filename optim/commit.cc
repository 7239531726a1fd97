#include "optim/commit.h"

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

// All but the payload, and where that is: from there to the end.
absl::StatusOr<size_t> DecodeHead(absl::string_view record, Commit& commit) {
  ByteReader reader(record);
  uint8_t version = 0;
  uint64_t payload_size = 0;
  if (!reader.Read(version)) {
    return Invalid("empty");
  }
  if (version != kVersion) {
    return Invalid(absl::StrCat("version ", version, " is unknown; this program reads version ", kVersion));
  }
  if (!reader.Read(commit.round) || !reader.Read(commit.learning_rate) || !reader.Read(commit.included) || !reader.Read(payload_size)) {
    return Invalid(absl::StrCat("truncated after ", record.size(), " bytes"));
  }
  if (commit.round < 1) {
    return Invalid("round 0; the first is 1");
  }
  if (!std::isfinite(commit.learning_rate) || std::signbit(commit.learning_rate)) {
    return Invalid(absl::StrCat("learning rate ", commit.learning_rate, " is not a finite number >= 0"));
  }
  if (commit.included > kMaxWorkers) {
    return Invalid(absl::StrCat(commit.included, " updates included; at most ", kMaxWorkers));
  }
  if (payload_size != reader.rest().size()) {
    return Invalid(absl::StrCat("the payload should have ", payload_size, " bytes, but ", reader.rest().size(), " follow"));
  }
  if ((commit.included == 0) != (payload_size == 0)) {
    return Invalid(absl::StrCat(commit.included, " updates included, but a payload of ", payload_size, " bytes"));
  }
  return record.size() - payload_size;
}

}  // namespace

std::string EncodeCommit(const Commit& commit) {
  std::string record;
  record.reserve(25 + commit.payload.size());
  AppendLittleEndian<uint8_t>(kVersion, record);
  AppendLittleEndian<uint64_t>(commit.round, record);
  AppendLittleEndian<float>(commit.learning_rate, record);
  AppendLittleEndian<uint32_t>(commit.included, record);
  AppendLittleEndian<uint64_t>(commit.payload.size(), record);
  record.append(commit.payload);
  return record;
}

absl::StatusOr<Commit> DecodeCommit(absl::string_view record) {
  Commit commit;
  TRIBUTARY_ASSIGN_OR_RETURN(const size_t payload, DecodeHead(record, commit));
  commit.payload = std::string(record.substr(payload));
  return commit;
}

absl::StatusOr<Commit> DecodeCommit(std::string&& record) {
  Commit commit;
  TRIBUTARY_ASSIGN_OR_RETURN(const size_t payload, DecodeHead(record, commit));
  record.erase(0, payload);
  commit.payload = std::move(record);
  return commit;
}

void AppendCommitRecord(absl::string_view record, std::string& out) {
  AppendField<uint32_t>(record, out);
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

}  // namespace tributary::optim
