#include "common/file_store.h"

#include <dirent.h>
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

bool IsSafe(absl::string_view name) {
  return !name.empty() && name.size() <= 200 && name.front() != '.' && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
}

absl::Status CheckName(absl::string_view name) {
  return IsSafe(name) ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat("'", name, "' is not a valid file name here"));
}

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

  bool Exists(const std::string& name) const override { return IsSafe(name) && access(PathOf(name).c_str(), F_OK) == 0; }

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
      if (IsSafe(entry->d_name)) {
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

std::unique_ptr<FileStore> FolderToRead(const std::string& directory) {
  return std::make_unique<Folder>(directory, 0644);
}

absl::StatusOr<std::unique_ptr<FileStore>> OpenFolder(const std::string& directory, unsigned mode) {
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(directory));
  TRIBUTARY_RETURN_IF_ERROR(RemoveTemporaryFiles(directory));
  return std::make_unique<Folder>(directory, mode);
}

}  // namespace tributary
