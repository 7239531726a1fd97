// The files that the journal names, in one place, each whole or not there: snapshots, and updates and commits too long for its tables.
// Which of them count is for the journal to say: write the file, then journal it; journal its removal, then remove the file. A crash in
// between leaves a file that RemoveAllBut clears away.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_SNAPSHOT_STORE_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_SNAPSHOT_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/byte_sink.h"
#include "common/file_store.h"
#include "common/stored_bytes.h"

namespace tributary::coordinator {

// Not thread-safe.
class SnapshotStore {
 public:
  // `files` must outlive the store.
  explicit SnapshotStore(FileStore* files) : files_(files) {}

  // Writes what `write` gives its sink (optim::WriteSnapshot) durably under a name made of run, round and `mark`, replacing a file of that
  // name, and returns the name. A mark, [A-Za-z0-9._-]*, is for a file that must leave another of that round as it is. InvalidArgument: a
  // run id that is not [A-Za-z0-9._-]+. ResourceExhausted: disk full, nothing is left behind. Exit code kStorage.
  absl::StatusOr<std::string> Save(const std::string& run_id, uint64_t round, absl::FunctionRef<absl::Status(ByteSink sink)> write,
                                   absl::string_view mark = "");

  // The whole file, to be served as it is, also after it was removed: one object for all who hold it at a time. DataLoss, exit code
  // kDamaged: missing. Whether its content is whole is for Sha256OfSealed to say, which reads all of it.
  absl::StatusOr<SharedBytes> OpenToServe(const std::string& file) const;

  // Any file. Whoever decodes a snapshot checks it anyway. It is read as long as it is there, or until the end, whoever
  // removes it. DataLoss, exit code kDamaged: missing.
  enum class Readable { kWhileThere, kForGood };
  absl::StatusOr<SharedBytes> Open(const std::string& file, Readable readable = Readable::kWhileThere) const;

  // A file for an update of that round, which no other has had, and the one for its commit: their names, and what writes them.
  std::string NewUpdateFile(const std::string& run_id, uint64_t round, const std::string& site);
  static std::string CommitFile(const std::string& run_id, uint64_t round);
  // The snapshot that Save writes without a mark, for one that is written in pieces.
  static std::string SnapshotFile(const std::string& run_id, uint64_t round);
  absl::StatusOr<std::unique_ptr<FileStore::Writer>> Create(const std::string& file) { return files_->Create(file); }

  // The aggregator's state beside the snapshot of that round, likewise. Returns its name.
  absl::StatusOr<std::string> SaveAggregator(const std::string& run_id, uint64_t round, absl::string_view bytes,
                                             absl::string_view mark = "");

  // For messages.
  std::string PathOf(const std::string& file) const { return files_->PathOf(file); }

  // Whether the file is there, sound or not.
  bool Exists(const std::string& file) const;

  // OK if there is no such file.
  absl::Status Remove(const std::string& file);

  // Removes every file of this store's kinds whose name is not in `keep`; others stay.
  absl::Status RemoveAllBut(const std::set<std::string>& keep);

 private:
  FileStore* const files_;
  uint64_t last_update_ = 0;  // number of the newest NewUpdateFile
  mutable std::map<std::string, std::weak_ptr<const StoredBytes>> served_;
};

// The SHA-256 of a file whose last 32 bytes are the SHA-256 of those before, as a snapshot's are. DataLoss, exit code kDamaged: they are
// not. `path`: for the message, which says what to do. Reads all of it, once. Thread-safe.
absl::StatusOr<Digest> Sha256OfSealed(const StoredBytes& bytes, absl::string_view path);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_SNAPSHOT_STORE_H_
