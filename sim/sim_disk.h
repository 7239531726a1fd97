// A disk in memory that loses, fills up and fails as disks do: a SQLite VFS for the journal, and FileStores.
//
// What was written and not synced may be lost, whole or by sector, when power is lost. The disk can be told to die in the middle of an
// operation: from then on everything fails, so that the code on it unwinds and its process can be thrown away; Restart() then shows what a
// restarted machine would find.
#ifndef TRIBUTARY_SIM_SIM_DISK_H_
#define TRIBUTARY_SIM_SIM_DISK_H_

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/file_store.h"
#include "coordinator/journal/journal_disk.h"
#include "sim/world.h"

namespace tributary::sim {

// Not thread-safe.
class SimDisk final : public coordinator::JournalDisk {
 public:
  // `name`: of its SQLite VFS; unique in the process. `world` outlives the disk.
  SimDisk(World* world, const std::string& name);
  // After all journals on it.
  ~SimDisk() override;
  SimDisk(const SimDisk&) = delete;
  SimDisk& operator=(const SimDisk&) = delete;

  enum class Trouble { kNone, kFull, kFailing };
  // Writes fail until it changes.
  void SetTrouble(Trouble trouble) { trouble_ = trouble; }
  Trouble trouble() const { return trouble_; }
  // Dies in the middle of the n-th change from now (1: the next).
  void DieAfter(uint64_t changes) { changes_until_death_ = changes; }
  bool dead() const { return dead_; }
  void Die() { dead_ = true; }
  enum class Loss { kNothing, kUnsynced };  // the process died alone; the machine lost power
  // After the process that used it is gone.
  void Restart(Loss loss);
  // Everything on it is gone. Nobody may use it.
  void Wipe();
  // Its files as files of this machine, and back: for tools that work on a stopped coordinator's folder. What was there before goes.
  absl::Status CopyTo(const std::string& folder) const;
  absl::Status CopyFrom(const std::string& folder);
  // What a FileStore's Write takes on a clock that is `busy` ahead of the world's: nothing waits for it, but whoever measures sees it.
  absl::Duration write_time;
  absl::Duration busy() const { return busy_; }
  // A planted defect: syncs do nothing.
  bool lies_about_sync = false;

  // A flat folder of this disk. The disk outlives the store.
  std::unique_ptr<FileStore> OpenStore(const std::string& folder);

  // JournalDisk.
  const char* vfs() const override { return vfs_.zName; }
  absl::StatusOr<std::shared_ptr<const void>> Lock(const std::string& journal_path) override;
  absl::StatusOr<std::optional<int64_t>> Size(const std::string& path) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;

 private:
  friend struct SimVfs;
  class Store;
  // One change since the last sync, to be undone.
  struct Change {
    uint64_t old_size;
    uint64_t offset;
    std::string old_bytes;  // what stood at `offset`
    uint64_t end;           // of what it changed
  };
  struct File {
    std::string bytes;
    std::vector<Change> unsynced;
    bool durable = false;  // its name survives a loss of power
    std::vector<std::unique_ptr<char[]>> shared_memory;
  };
  enum class Outcome { kDone, kFull, kFailed, kDied };
  // Whether a change of the disk may happen. kDied: it may have happened in part.
  Outcome Change_();
  void Write(File& file, uint64_t offset, const char* data, uint64_t size);
  void Truncate(File& file, uint64_t size);
  void LoseUnsynced(File& file);
  absl::Status Explain(Outcome outcome, const std::string& path) const;

  World* const world_;
  const std::string name_;
  sqlite3_vfs vfs_{};
  std::map<std::string, std::shared_ptr<File>> files_;
  std::map<std::string, std::string> stored_;            // FileStores: path -> bytes, all durable
  std::map<std::string, std::string> removed_unsynced_;  // ditto, removed, but the folder is not synced
  absl::Duration busy_;
  Trouble trouble_ = Trouble::kNone;
  std::optional<uint64_t> changes_until_death_;
  bool dead_ = false;
};

}  // namespace tributary::sim

#endif  // TRIBUTARY_SIM_SIM_DISK_H_
