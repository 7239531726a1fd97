#include "sim/sim_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <new>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace tributary::sim {
namespace {

constexpr uint64_t kSectorBytes = 512;

}  // namespace

// SQLite's view of the disk.
struct SimVfs {
  struct Handle {
    sqlite3_file base;
    SimDisk* disk;
    std::shared_ptr<SimDisk::File> file;
    bool temporary;
  };
  static Handle& Of(sqlite3_file* file) { return *reinterpret_cast<Handle*>(file); }
  static SimDisk& Of(sqlite3_vfs* vfs) { return *static_cast<SimDisk*>(vfs->pAppData); }

  static int Close(sqlite3_file* file) {
    Of(file).file.~shared_ptr();
    return SQLITE_OK;
  }
  static int Read(sqlite3_file* file, void* buffer, int size, sqlite3_int64 offset) {
    Handle& handle = Of(file);
    if (handle.disk->dead()) {
      return SQLITE_IOERR_READ;
    }
    const std::string& bytes = handle.file->bytes;
    const uint64_t from = std::min<uint64_t>(offset, bytes.size());
    const uint64_t there = std::min<uint64_t>(size, bytes.size() - from);
    std::memcpy(buffer, bytes.data() + from, there);
    if (there == static_cast<uint64_t>(size)) {
      return SQLITE_OK;
    }
    std::memset(static_cast<char*>(buffer) + there, 0, size - there);
    return SQLITE_IOERR_SHORT_READ;
  }
  static int Write(sqlite3_file* file, const void* buffer, int size, sqlite3_int64 offset) {
    Handle& handle = Of(file);
    const auto* const data = static_cast<const char*>(buffer);
    switch (handle.temporary ? SimDisk::Outcome::kDone : handle.disk->Change_()) {
      case SimDisk::Outcome::kDone:
        handle.disk->Write(*handle.file, offset, data, size);
        return SQLITE_OK;
      case SimDisk::Outcome::kFull:
        return SQLITE_FULL;
      case SimDisk::Outcome::kFailed:
        return SQLITE_IOERR_WRITE;
      case SimDisk::Outcome::kDied:
        // Some of its sectors had been written.
        handle.disk->Write(*handle.file, offset, data,
                           std::min<uint64_t>(size, handle.disk->world_->random.Below(size / kSectorBytes + 2) * kSectorBytes));
        return SQLITE_IOERR_WRITE;
    }
    return SQLITE_IOERR_WRITE;
  }
  static int Truncate(sqlite3_file* file, sqlite3_int64 size) {
    Handle& handle = Of(file);
    if (!handle.temporary && handle.disk->Change_() != SimDisk::Outcome::kDone) {
      return SQLITE_IOERR_TRUNCATE;
    }
    handle.disk->Truncate(*handle.file, size);
    return SQLITE_OK;
  }
  static int Sync(sqlite3_file* file, int) {
    Handle& handle = Of(file);
    if (handle.temporary) {
      return SQLITE_OK;
    }
    const SimDisk::Outcome outcome = handle.disk->Change_();
    if (outcome == SimDisk::Outcome::kDone || (outcome == SimDisk::Outcome::kDied && handle.disk->world_->random.Chance(0.5))) {
      if (!handle.disk->lies_about_sync) {
        handle.file->unsynced.clear();
      }
      handle.file->durable = true;
    }
    return outcome == SimDisk::Outcome::kDone ? SQLITE_OK : SQLITE_IOERR_FSYNC;
  }
  static int FileSize(sqlite3_file* file, sqlite3_int64* size) {
    *size = static_cast<sqlite3_int64>(Of(file).file->bytes.size());
    return SQLITE_OK;
  }
  // One process, one connection at a time: nobody to keep out.
  static int Lock(sqlite3_file*, int) { return SQLITE_OK; }
  static int CheckReservedLock(sqlite3_file*, int* reserved) {
    *reserved = 0;
    return SQLITE_OK;
  }
  static int FileControl(sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; }
  static int SectorSize(sqlite3_file*) { return kSectorBytes; }
  // As the real one: a sector that is half written holds the old bytes or the new ones in each place.
  static int DeviceCharacteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }
  static int ShmMap(sqlite3_file* file, int region, int size, int extend, void volatile** memory) {
    auto& regions = Of(file).file->shared_memory;
    while (extend != 0 && regions.size() <= static_cast<size_t>(region)) {
      regions.push_back(std::make_unique<char[]>(size));
    }
    *memory = regions.size() <= static_cast<size_t>(region) ? nullptr : regions[region].get();
    return SQLITE_OK;
  }
  static int ShmLock(sqlite3_file*, int, int, int) { return SQLITE_OK; }
  static void ShmBarrier(sqlite3_file*) {}
  static int ShmUnmap(sqlite3_file* file, int) {
    Of(file).file->shared_memory.clear();
    return SQLITE_OK;
  }

  static int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
    static const sqlite3_io_methods kMethods = {2,
                                                Close,
                                                Read,
                                                Write,
                                                Truncate,
                                                Sync,
                                                FileSize,
                                                Lock,
                                                Lock,
                                                CheckReservedLock,
                                                FileControl,
                                                SectorSize,
                                                DeviceCharacteristics,
                                                ShmMap,
                                                ShmLock,
                                                ShmBarrier,
                                                ShmUnmap,
                                                nullptr,
                                                nullptr};
    SimDisk& disk = Of(vfs);
    file->pMethods = nullptr;
    std::shared_ptr<SimDisk::File> found;
    if (name == nullptr) {
      found = std::make_shared<SimDisk::File>();
    } else if (disk.dead()) {
      return SQLITE_CANTOPEN;
    } else if (const auto it = disk.files_.find(name); it != disk.files_.end()) {
      found = it->second;
    } else if ((flags & SQLITE_OPEN_CREATE) == 0) {
      return SQLITE_CANTOPEN;
    } else if (disk.Change_() != SimDisk::Outcome::kDone) {
      return SQLITE_CANTOPEN;
    } else {
      found = disk.files_[name] = std::make_shared<SimDisk::File>();
    }
    Handle& handle = Of(file);
    handle.disk = &disk;
    new (&handle.file) std::shared_ptr<SimDisk::File>(std::move(found));
    handle.temporary = name == nullptr;
    file->pMethods = &kMethods;
    if (out_flags != nullptr) {
      *out_flags = flags;
    }
    return SQLITE_OK;
  }
  static int Delete(sqlite3_vfs* vfs, const char* name, int) { return Of(vfs).Remove(name).ok() ? SQLITE_OK : SQLITE_IOERR_DELETE; }
  static int Access(sqlite3_vfs* vfs, const char* name, int, int* result) {
    *result = Of(vfs).files_.contains(name) ? 1 : 0;
    return SQLITE_OK;
  }
  static int FullPathname(sqlite3_vfs*, const char* name, int size, char* out) {
    sqlite3_snprintf(size, out, "%s", name);
    return SQLITE_OK;
  }
  static int Randomness(sqlite3_vfs* vfs, int size, char* out) {
    for (int i = 0; i < size; ++i) {
      out[i] = static_cast<char>(Of(vfs).world_->random.Next());
    }
    return size;
  }
  static int Sleep(sqlite3_vfs*, int microseconds) { return microseconds; }
  static int CurrentTime(sqlite3_vfs* vfs, double* days) {
    *days = 2440587.5 + absl::ToDoubleSeconds(Of(vfs).world_->WallNow() - absl::UnixEpoch()) / 86400;
    return SQLITE_OK;
  }
};

SimDisk::SimDisk(World* world, const std::string& name) : world_(world), name_(name) {
  vfs_.iVersion = 1;
  vfs_.szOsFile = sizeof(SimVfs::Handle);
  vfs_.mxPathname = 512;
  vfs_.zName = name_.c_str();
  vfs_.pAppData = this;
  vfs_.xOpen = SimVfs::Open;
  vfs_.xDelete = SimVfs::Delete;
  vfs_.xAccess = SimVfs::Access;
  vfs_.xFullPathname = SimVfs::FullPathname;
  vfs_.xRandomness = SimVfs::Randomness;
  vfs_.xSleep = SimVfs::Sleep;
  vfs_.xCurrentTime = SimVfs::CurrentTime;
  sqlite3_vfs_register(&vfs_, 0);
}

SimDisk::~SimDisk() {
  sqlite3_vfs_unregister(&vfs_);
}

SimDisk::Outcome SimDisk::Change_() {
  if (dead_) {
    return Outcome::kFailed;
  }
  if (changes_until_death_.has_value() && --*changes_until_death_ == 0) {
    changes_until_death_.reset();
    dead_ = true;
    if (world_->tracing) {
      world_->Trace(-1, "dies in the middle of a disk operation");
    }
    return Outcome::kDied;
  }
  switch (trouble_) {
    case Trouble::kNone:
      return Outcome::kDone;
    case Trouble::kFull:
      return Outcome::kFull;
    case Trouble::kFailing:
      return Outcome::kFailed;
  }
  return Outcome::kDone;
}

void SimDisk::Write(File& file, uint64_t offset, const char* data, uint64_t size) {
  if (size == 0) {
    return;
  }
  Change change{.old_size = file.bytes.size(), .offset = offset, .old_bytes = "", .end = offset + size};
  if (offset < file.bytes.size()) {
    change.old_bytes = file.bytes.substr(offset, size);
  }
  file.unsynced.push_back(std::move(change));
  if (file.bytes.size() < offset + size) {
    file.bytes.resize(offset + size);
  }
  std::memcpy(file.bytes.data() + offset, data, size);
}

void SimDisk::Truncate(File& file, uint64_t size) {
  Change change{.old_size = file.bytes.size(), .offset = size, .old_bytes = "", .end = size};
  if (size < file.bytes.size()) {
    change.old_bytes = file.bytes.substr(size);
    change.end = file.bytes.size();
  }
  file.unsynced.push_back(std::move(change));
  file.bytes.resize(size);
}

// Of the changes since the last sync nothing, everything, or any of the sectors has reached the disk.
void SimDisk::LoseUnsynced(File& file) {
  if (file.unsynced.empty()) {
    return;
  }
  Random& random = world_->random;
  const uint64_t fate = random.Below(3);
  if (fate != 0) {
    const std::string written = file.bytes;
    std::set<uint64_t> sectors;
    for (auto change = file.unsynced.rbegin(); change != file.unsynced.rend(); ++change) {
      file.bytes.resize(change->old_size);
      std::copy(change->old_bytes.begin(), change->old_bytes.end(), file.bytes.begin() + static_cast<ptrdiff_t>(change->offset));
      for (uint64_t sector = change->offset / kSectorBytes; sector * kSectorBytes < change->end; ++sector) {
        sectors.insert(sector);
      }
    }
    for (const uint64_t sector : sectors) {
      const uint64_t begin = sector * kSectorBytes;
      const uint64_t end = std::min<uint64_t>(begin + kSectorBytes, written.size());
      if (fate == 2 && begin < end && random.Chance(0.5)) {
        file.bytes.resize(std::max<uint64_t>(file.bytes.size(), end));
        std::copy(written.begin() + static_cast<ptrdiff_t>(begin), written.begin() + static_cast<ptrdiff_t>(end),
                  file.bytes.begin() + static_cast<ptrdiff_t>(begin));
      }
    }
  }
  file.unsynced.clear();
}

void SimDisk::Restart(Loss loss) {
  dead_ = false;
  changes_until_death_.reset();
  for (auto it = files_.begin(); it != files_.end();) {
    it->second->shared_memory.clear();
    if (loss == Loss::kUnsynced) {
      if (!it->second->durable && world_->random.Chance(0.5)) {
        it = files_.erase(it);
        continue;
      }
      LoseUnsynced(*it->second);
    }
    ++it;
  }
  if (loss == Loss::kUnsynced) {
    for (auto& [path, bytes] : removed_unsynced_) {
      if (world_->random.Chance(0.5)) {
        stored_.emplace(path, std::move(bytes));
      }
    }
  }
  removed_unsynced_.clear();
}

void SimDisk::Wipe() {
  files_.clear();
  stored_.clear();
  removed_unsynced_.clear();
}

absl::Status SimDisk::CopyTo(const std::string& folder) const {
  std::map<std::string, const std::string*> all;
  for (const auto& [path, file] : files_) {
    all[path] = &file->bytes;
  }
  for (const auto& [path, bytes] : stored_) {
    all[path] = &bytes;
  }
  for (const auto& [path, bytes] : all) {
    const std::filesystem::path target = std::filesystem::path(folder) / path;
    std::error_code error;
    std::filesystem::create_directories(target.parent_path(), error);
    std::ofstream file(target, std::ios::binary);
    if (!file.write(bytes->data(), static_cast<std::streamsize>(bytes->size())).flush()) {
      return absl::InternalError(absl::StrCat("cannot write ", target.string()));
    }
  }
  return absl::OkStatus();
}

absl::Status SimDisk::CopyFrom(const std::string& folder) {
  Wipe();
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder, error)) {
    if (!entry.is_regular_file()) {
      continue;
    }
    const std::string path = std::filesystem::relative(entry.path(), folder);
    TRIBUTARY_ASSIGN_OR_RETURN(std::string bytes, ReadFile(entry.path(), uint64_t{1} << 30));
    if (absl::StrContains(path, '/')) {
      stored_[path] = std::move(bytes);
    } else {
      files_[path] = std::make_shared<File>();
      files_[path]->bytes = std::move(bytes);
      files_[path]->durable = true;
    }
  }
  return error ? absl::InternalError(absl::StrCat("cannot read ", folder, ": ", error.message())) : absl::OkStatus();
}

absl::Status SimDisk::Explain(Outcome outcome, const std::string& path) const {
  switch (outcome) {
    case Outcome::kDone:
      return absl::OkStatus();
    case Outcome::kFull:
      return StorageError("write", path, ENOSPC);
    case Outcome::kFailed:
    case Outcome::kDied:
      break;
  }
  return StorageError("write", path, EIO);
}

absl::StatusOr<std::shared_ptr<const void>> SimDisk::Lock(const std::string& journal_path) {
  return std::make_shared<const int>(0);
}

absl::StatusOr<std::optional<int64_t>> SimDisk::Size(const std::string& path) {
  const auto it = files_.find(path);
  return it == files_.end() ? std::nullopt : std::optional<int64_t>(it->second->bytes.size());
}

absl::Status SimDisk::Remove(const std::string& path) {
  const auto it = files_.find(path);
  if (it == files_.end()) {
    return absl::OkStatus();
  }
  const Outcome outcome = Change_();
  if (outcome == Outcome::kDone) {
    files_.erase(it);
  }
  return Explain(outcome, path);
}

absl::Status SimDisk::Rename(const std::string& from, const std::string& to) {
  const Outcome outcome = Change_();
  if (outcome == Outcome::kDone) {
    std::shared_ptr<File> file = files_.at(from);
    file->unsynced.clear();
    file->durable = true;
    files_.erase(from);
    files_[to] = std::move(file);
  }
  return Explain(outcome, to);
}

class SimDisk::Store final : public FileStore {
 public:
  Store(SimDisk* disk, std::string folder) : disk_(disk), folder_(std::move(folder)) {}

  std::string PathOf(absl::string_view name) const override { return absl::StrCat(folder_, "/", name); }

  absl::StatusOr<std::string> Read(const std::string& name, uint64_t max_bytes) const override {
    const auto it = disk_->stored_.find(PathOf(name));
    if (disk_->dead_) {
      return StorageError("read", PathOf(name), EIO);
    }
    if (it == disk_->stored_.end()) {
      return absl::NotFoundError(absl::StrCat("no file ", PathOf(name)));
    }
    if (it->second.size() > max_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat(PathOf(name), " is longer than ", max_bytes, " bytes"));
    }
    return it->second;
  }

  absl::Status Write(const std::string& name, absl::string_view bytes) override {
    disk_->busy_ += disk_->write_time;
    const Outcome outcome = disk_->Change_();
    if (outcome == Outcome::kDone || (outcome == Outcome::kDied && disk_->world_->random.Chance(0.5))) {
      disk_->stored_[PathOf(name)] = std::string(bytes);
      disk_->removed_unsynced_.clear();
    }
    return disk_->Explain(outcome, PathOf(name));
  }

  absl::Status Append(const std::string& name, absl::string_view bytes) override {
    const Outcome outcome = disk_->Change_();
    if (outcome == Outcome::kDied) {
      bytes = bytes.substr(0, disk_->world_->random.Below(bytes.size() + 1));
    }
    if (outcome == Outcome::kDone || outcome == Outcome::kDied) {
      absl::StrAppend(&disk_->stored_[PathOf(name)], bytes);
      disk_->removed_unsynced_.erase(PathOf(name));
    }
    return disk_->Explain(outcome, PathOf(name));
  }

  bool Exists(const std::string& name) const override { return disk_->stored_.contains(PathOf(name)); }

  absl::Status Remove(const std::string& name) override {
    const auto it = disk_->stored_.find(PathOf(name));
    if (it == disk_->stored_.end()) {
      return absl::OkStatus();
    }
    const Outcome outcome = disk_->Change_();
    if (outcome == Outcome::kDone) {
      disk_->removed_unsynced_[it->first] = std::move(it->second);
      disk_->stored_.erase(it);
    }
    return disk_->Explain(outcome, PathOf(name));
  }

  absl::StatusOr<std::vector<std::string>> Names() const override {
    if (disk_->dead_) {
      return StorageError("list", folder_, EIO);
    }
    std::vector<std::string> names;
    const std::string prefix = folder_ + "/";
    for (auto it = disk_->stored_.lower_bound(prefix); it != disk_->stored_.end() && absl::StartsWith(it->first, prefix); ++it) {
      names.push_back(it->first.substr(prefix.size()));
    }
    return names;
  }

 private:
  SimDisk* const disk_;
  const std::string folder_;
};

std::unique_ptr<FileStore> SimDisk::OpenStore(const std::string& folder) {
  return std::make_unique<Store>(this, folder);
}

}  // namespace tributary::sim
