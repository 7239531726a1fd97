#include "coordinator/journal/snapshot_store.h"

#include <algorithm>
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
constexpr absl::string_view kUpdateSuffix = ".update";
constexpr absl::string_view kCommitSuffix = ".commit";

// Zero-padded, so that a listing sorts by round.
std::string NameOf(const std::string& run_id, uint64_t round, absl::string_view suffix) {
  return absl::StrFormat("%s-%012d%s", run_id, round, suffix);
}

absl::Status Damaged(absl::string_view path, absl::string_view how) {
  return WithExitCode(
      absl::DataLossError(
          absl::StrCat(path, " ", how, "; restore the coordinator's data folder from a backup, or move the folder away to start afresh")),
      ExitCode::kDamaged);
}

}  // namespace

absl::StatusOr<std::string> SnapshotStore::Save(const std::string& run_id, uint64_t round,
                                                absl::FunctionRef<absl::Status(ByteSink sink)> write, absl::string_view mark) {
  std::string file = NameOf(run_id, round, absl::StrCat(mark, kSuffix));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<FileStore::Writer> writer, files_->Create(file));
  TRIBUTARY_RETURN_IF_ERROR(write([&writer](absl::string_view piece) { return writer->Append(piece); }));
  TRIBUTARY_RETURN_IF_ERROR(writer->Finish());
  return file;
}

absl::StatusOr<std::string> SnapshotStore::SaveAggregator(const std::string& run_id, uint64_t round, absl::string_view bytes,
                                                          absl::string_view mark) {
  std::string file = NameOf(run_id, round, absl::StrCat(mark, kAggregatorSuffix));
  TRIBUTARY_RETURN_IF_ERROR(files_->Write(file, bytes));
  return file;
}

absl::StatusOr<SharedBytes> SnapshotStore::Open(const std::string& file, Readable readable) const {
  const std::string path = files_->PathOf(file);
  absl::StatusOr<SharedBytes> bytes = readable == Readable::kForGood ? files_->OpenForGood(file) : files_->Open(file);
  if (absl::IsInvalidArgument(bytes.status())) {
    return Damaged(path, "is not named like a file of the journal");
  }
  if (absl::IsNotFound(bytes.status())) {
    return Damaged(path, "is missing although the journal names it");
  }
  return bytes;
}

absl::StatusOr<SharedBytes> SnapshotStore::OpenToServe(const std::string& file) const {
  std::erase_if(served_, [](const auto& entry) { return entry.second.expired(); });
  if (const auto found = served_.find(file); found != served_.end()) {
    // Whoever reads it last may let it go at this moment, on another thread.
    if (SharedBytes held = found->second.lock(); held != nullptr) {
      return held;
    }
  }
  TRIBUTARY_ASSIGN_OR_RETURN(SharedBytes bytes, Open(file, Readable::kForGood));
  served_[file] = bytes;
  return bytes;
}

absl::StatusOr<Digest> Sha256OfSealed(const StoredBytes& bytes, absl::string_view path) {
  if (bytes.size() < kDigestBytes) {
    return Damaged(path, "is truncated");
  }
  Sha256Hasher hasher;
  std::string scratch;
  const uint64_t content = bytes.size() - kDigestBytes;
  for (uint64_t offset = 0; offset < content; offset += kSliceBytes) {
    TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view slice, bytes.Slice(offset, std::min(kSliceBytes, content - offset), scratch));
    hasher.Update(slice);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const absl::string_view seal, bytes.Slice(content, kDigestBytes, scratch));
  if (DigestBytes(hasher.SoFar()) != seal) {
    return Damaged(path, "is damaged: its SHA-256 does not match");
  }
  hasher.Update(seal);
  return hasher.Finish();
}

std::string SnapshotStore::NewUpdateFile(const std::string& run_id, uint64_t round, const std::string& site) {
  while (true) {
    std::string file = NameOf(run_id, round, absl::StrCat("-", site, "-", ++last_update_, kUpdateSuffix));
    // One from before a restart may be an accepted update.
    if (!files_->Exists(file)) {
      return file;
    }
  }
}

std::string SnapshotStore::CommitFile(const std::string& run_id, uint64_t round) {
  return NameOf(run_id, round, kCommitSuffix);
}

std::string SnapshotStore::SnapshotFile(const std::string& run_id, uint64_t round) {
  return NameOf(run_id, round, kSuffix);
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
    const bool ours = absl::EndsWith(name, kSuffix) || absl::EndsWith(name, kAggregatorSuffix) || absl::EndsWith(name, kUpdateSuffix) ||
                      absl::EndsWith(name, kCommitSuffix);
    if (ours && !keep.contains(name)) {
      TRIBUTARY_RETURN_IF_ERROR(files_->Remove(name));
    }
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
