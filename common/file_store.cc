#include "common/file_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

absl::Status CheckName(absl::string_view name) {
  return IsFileName(name) ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat("'", name, "' is not a valid file name here"));
}

class FileBytes final : public StoredBytes {
 public:
  FileBytes(std::string path, uint64_t size) : path_(std::move(path)), size_(size) {}
  uint64_t size() const override { return size_; }
  // Opens the file each time: a descriptor for each of a round's updates would be too many.
  absl::StatusOr<absl::string_view> Slice(uint64_t offset, uint64_t length, std::string& scratch) const override {
    scratch.resize(length);
    TRIBUTARY_RETURN_IF_ERROR(ReadFilePart(path_, offset, length, scratch.data()));
    return scratch;
  }

 private:
  const std::string path_;
  const uint64_t size_;
};

class DescriptorBytes final : public StoredBytes {
 public:
  DescriptorBytes(int descriptor, std::string path, uint64_t size) : descriptor_(descriptor), path_(std::move(path)), size_(size) {}
  ~DescriptorBytes() override { close(descriptor_); }
  uint64_t size() const override { return size_; }
  absl::StatusOr<absl::string_view> Slice(uint64_t offset, uint64_t length, std::string& scratch) const override {
    scratch.resize(length);
    TRIBUTARY_RETURN_IF_ERROR(ReadFilePart(descriptor_, path_, offset, length, scratch.data()));
    return scratch;
  }

 private:
  const int descriptor_;
  const std::string path_;
  const uint64_t size_;
};

class GatheringWriter final : public FileStore::Writer {
 public:
  GatheringWriter(FileStore* store, std::string name) : store_(store), name_(std::move(name)) {}
  absl::Status Append(absl::string_view bytes) override {
    bytes_.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  }
  absl::Status Finish() override { return store_->Write(name_, bytes_); }

 private:
  FileStore* const store_;
  const std::string name_;
  std::string bytes_;
};

class FolderWriter final : public FileStore::Writer {
 public:
  explicit FolderWriter(std::unique_ptr<AtomicFile> file) : file_(std::move(file)) {}
  absl::Status Append(absl::string_view bytes) override { return file_->Append(bytes); }
  absl::Status Finish() override { return file_->Finish(); }

 private:
  const std::unique_ptr<AtomicFile> file_;
};

class Folder final : public FileStore {
 public:
  Folder(std::string directory, unsigned mode) : directory_(std::move(directory)), mode_(mode) {}

  std::string PathOf(absl::string_view name) const override { return absl::StrCat(directory_, "/", name); }

  absl::StatusOr<std::string> Read(const std::string& name, uint64_t max_bytes) const override {
    TRIBUTARY_RETURN_IF_ERROR(CheckName(name));
    return ReadFile(PathOf(name), max_bytes);
  }

  absl::Status Write(const std::string& name, absl::string_view bytes) override {
    TRIBUTARY_RETURN_IF_ERROR(CheckName(name));
    return WriteFileAtomically(PathOf(name), bytes, mode_);
  }

  absl::Status Append(const std::string& name, absl::string_view bytes) override {
    TRIBUTARY_RETURN_IF_ERROR(CheckName(name));
    return AppendToFile(PathOf(name), bytes, mode_);
  }

  absl::StatusOr<std::unique_ptr<Writer>> Create(const std::string& name) override {
    TRIBUTARY_RETURN_IF_ERROR(CheckName(name));
    TRIBUTARY_ASSIGN_OR_RETURN(std::unique_ptr<AtomicFile> file, AtomicFile::Create(PathOf(name), mode_));
    return std::make_unique<FolderWriter>(std::move(file));
  }

  absl::StatusOr<SharedBytes> Open(const std::string& name) const override {
    TRIBUTARY_RETURN_IF_ERROR(CheckName(name));
    std::string path = PathOf(name);
    TRIBUTARY_ASSIGN_OR_RETURN(const uint64_t size, FileSize(path));
    return std::make_shared<const FileBytes>(std::move(path), size);
  }

  absl::StatusOr<SharedBytes> OpenForGood(const std::string& name) const override {
    TRIBUTARY_RETURN_IF_ERROR(CheckName(name));
    std::string path = PathOf(name);
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    return descriptor < 0 ? StorageError("read", path, errno) : BytesOfDescriptor(descriptor, std::move(path));
  }

  bool Exists(const std::string& name) const override { return IsFileName(name) && access(PathOf(name).c_str(), F_OK) == 0; }

  absl::Status Remove(const std::string& name) override {
    TRIBUTARY_RETURN_IF_ERROR(CheckName(name));
    const std::string path = PathOf(name);
    return unlink(path.c_str()) == 0 || errno == ENOENT ? absl::OkStatus() : StorageError("remove", path, errno);
  }

  absl::StatusOr<std::vector<std::string>> Names() const override {
    DIR* const folder = opendir(directory_.c_str());
    if (folder == nullptr) {
      return StorageError("list", directory_, errno);
    }
    std::vector<std::string> names;
    while (const dirent* const entry = readdir(folder)) {
      if (IsFileName(entry->d_name)) {
        names.emplace_back(entry->d_name);
      }
    }
    closedir(folder);
    std::sort(names.begin(), names.end());
    return names;
  }

 private:
  const std::string directory_;
  const unsigned mode_;
};

}  // namespace

bool IsFileName(absl::string_view name) {
  return !name.empty() && name.size() <= 200 && name.front() != '.' && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
}

absl::StatusOr<SharedBytes> BytesOfDescriptor(int descriptor, std::string path) {
  struct stat info;
  if (fstat(descriptor, &info) != 0) {
    const absl::Status why = StorageError("read", path, errno);
    close(descriptor);
    return why;
  }
  return std::make_shared<const DescriptorBytes>(descriptor, std::move(path), static_cast<uint64_t>(info.st_size));
}

absl::StatusOr<std::unique_ptr<FileStore::Writer>> FileStore::Create(const std::string& name) {
  return std::make_unique<GatheringWriter>(this, name);
}

absl::StatusOr<SharedBytes> FileStore::Open(const std::string& name) const {
  TRIBUTARY_ASSIGN_OR_RETURN(std::string bytes, Read(name, UINT64_MAX));
  return InMemory(std::move(bytes));
}

std::unique_ptr<FileStore> FolderToRead(const std::string& directory) {
  return std::make_unique<Folder>(directory, 0644);
}

absl::StatusOr<std::unique_ptr<FileStore>> OpenFolder(const std::string& directory, unsigned mode) {
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(directory));
  TRIBUTARY_RETURN_IF_ERROR(RemoveTemporaryFiles(directory));
  return std::make_unique<Folder>(directory, mode);
}

}  // namespace tributary
