#include "coordinator/journal/snapshot_store.h"

#include <limits>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

constexpr absl::string_view kSuffix = ".snapshot";
constexpr absl::string_view kAggregatorSuffix = ".aggregator";

absl::Status Damaged(absl::string_view path, absl::string_view how) {
  return WithExitCode(
      absl::DataLossError(absl::StrCat("snapshot ", path, " ", how,
                                       "; restore the coordinator's data folder from a backup, or move the folder away to start afresh")),
      ExitCode::kDamaged);
}

}  // namespace

absl::StatusOr<std::string> SnapshotStore::Save(const std::string& run_id, uint64_t round, absl::string_view bytes,
                                                absl::string_view mark) {
  return SaveAs(run_id, round, absl::StrCat(mark, kSuffix), bytes);
}

absl::StatusOr<std::string> SnapshotStore::SaveAggregator(const std::string& run_id, uint64_t round, absl::string_view bytes,
                                                          absl::string_view mark) {
  return SaveAs(run_id, round, absl::StrCat(mark, kAggregatorSuffix), bytes);
}

absl::StatusOr<std::string> SnapshotStore::SaveAs(const std::string& run_id, uint64_t round, absl::string_view suffix,
                                                  absl::string_view bytes) {
  // Zero-padded, so that a listing sorts by round.
  std::string file = absl::StrFormat("%s-%012d%s", run_id, round, suffix);
  TRIBUTARY_RETURN_IF_ERROR(files_->Write(file, bytes));
  return file;
}

absl::StatusOr<std::string> SnapshotStore::LoadUnchecked(const std::string& file) const {
  const std::string path = files_->PathOf(file);
  absl::StatusOr<std::string> bytes = files_->Read(file, std::numeric_limits<int64_t>::max());
  if (absl::IsInvalidArgument(bytes.status())) {
    return Damaged(path, "is not named like a snapshot");
  }
  if (absl::IsNotFound(bytes.status())) {
    return Damaged(path, "is missing although the journal names it");
  }
  return bytes;
}

absl::StatusOr<std::string> SnapshotStore::Load(const std::string& file) const {
  TRIBUTARY_ASSIGN_OR_RETURN(std::string bytes, LoadUnchecked(file));
  if (bytes.size() < kDigestBytes) {
    return Damaged(files_->PathOf(file), "is truncated");
  }
  const absl::string_view content(bytes.data(), bytes.size() - kDigestBytes);
  const absl::string_view digest(bytes.data() + content.size(), kDigestBytes);
  if (DigestBytes(Sha256(content)) != digest) {
    return Damaged(files_->PathOf(file), "is damaged: its SHA-256 does not match");
  }
  return bytes;
}

bool SnapshotStore::Exists(const std::string& file) const {
  return files_->Exists(file);
}

absl::Status SnapshotStore::Remove(const std::string& file) {
  return files_->Remove(file);
}

absl::Status SnapshotStore::RemoveAllBut(const std::set<std::string>& keep) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<std::string> names, files_->Names());
  for (const std::string& name : names) {
    if ((absl::EndsWith(name, kSuffix) || absl::EndsWith(name, kAggregatorSuffix)) && !keep.contains(name)) {
      TRIBUTARY_RETURN_IF_ERROR(files_->Remove(name));
    }
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
