#include "worker/data/folder.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

std::string AbsolutePath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

}  // namespace

absl::Status DataError(absl::string_view message) {
  return WithExitCode(absl::InvalidArgumentError(message), ExitCode::kData);
}

absl::StatusOr<std::vector<std::string>> ListDataFiles(const std::string& folder, absl::string_view extension) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> files;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    // A broken link, or an entry that went away meanwhile, is not a file of data.
    std::error_code ignored;
    if (!absl::StartsWith(name, ".") && absl::EndsWith(name, extension) && entry->is_regular_file(ignored)) {
      files.push_back(entry->path().string());
    }
  }
  if (error) {
    return DataError(absl::StrCat("data folder ", AbsolutePath(folder), ": ", error.message(),
                                  ": `data` in worker.yaml must name a folder that the worker can read"));
  }
  if (files.empty()) {
    const std::string kind = extension.empty() ? "files" : absl::StrCat(extension, " files");
    absl::Status status = DataError(absl::StrCat("data folder ", AbsolutePath(folder), " holds no ", kind,
                                                 ": put this site's data there, or point `data` in worker.yaml at it"));
    return extension.empty() ? status : WithRefusal(std::move(status), absl::StrCat("this site holds no ", kind, " (the run's data.kind)"));
  }
  std::sort(files.begin(), files.end());
  return files;
}

absl::StatusOr<std::string> ReadDataFile(const std::string& path, uint64_t& budget) {
  absl::StatusOr<std::string> bytes = ReadFile(path, budget);
  if (absl::IsResourceExhausted(bytes.status())) {
    return DataError(absl::StrCat(path, ": the data folder holds more than ", kMaxDataBytes >> 20,
                                  " MiB, which are kept in memory: move part of it elsewhere"));
  }
  if (!bytes.ok()) {
    return DataError(bytes.status().message());
  }
  budget -= bytes->size();
  return bytes;
}

}  // namespace tributary::worker
