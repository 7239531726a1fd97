#include "worker/data/folder.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/status_macros.h"
#include "worker/data/utf8.h"
#include "worker/refusal.h"

namespace tributary::worker {
namespace {

std::string AbsolutePath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

// Of what is not a regular file: why it is left out.
std::string WhyNoFile(const std::filesystem::directory_entry& entry) {
  std::error_code error;
  return entry.is_symlink(error) ? "a link that leads to no file" : "not a file";
}

}  // namespace

absl::Status DataError(absl::string_view message) {
  return WithExitCode(absl::InvalidArgumentError(message), ExitCode::kData);
}

absl::StatusOr<FolderListing> ListFolder(const std::string& folder, const std::function<std::string(absl::string_view name)>& why_not) {
  namespace fs = std::filesystem;
  std::error_code error;
  FolderListing found;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::error_code ignored;
    std::string why;
    if (absl::StartsWith(name, ".")) {
      why = "hidden";
    } else if (entry->is_directory(ignored)) {
      found.folders.push_back(entry->path().string());
      continue;
    } else {
      why = entry->is_regular_file(ignored) ? why_not(name) : WhyNoFile(*entry);
    }
    if (why.empty()) {
      found.files.push_back(entry->path().string());
    } else {
      found.left_out.push_back(absl::StrCat(PrintableUtf8(name), " (", why, ")"));
    }
  }
  if (error) {
    return DataError(absl::StrCat("data folder ", AbsolutePath(folder), ": ", error.message(),
                                  ": `data` in worker.yaml must name a folder that the worker can read"));
  }
  std::sort(found.files.begin(), found.files.end());
  std::sort(found.folders.begin(), found.folders.end());
  return found;
}

DataFiles FilesOf(FolderListing listing) {
  DataFiles found{std::move(listing.files), std::move(listing.left_out), 0};
  std::sort(found.left_out.begin(), found.left_out.end());
  found.left_out_count = found.left_out.size();
  found.left_out.resize(std::min(found.left_out.size(), kMaxNamed));
  return found;
}

absl::StatusOr<DataFiles> ListDataFiles(const std::string& folder, absl::string_view extension) {
  TRIBUTARY_ASSIGN_OR_RETURN(FolderListing listing, ListFolder(folder, [&](absl::string_view name) {
                               return absl::EndsWithIgnoreCase(name, extension) ? "" : absl::StrCat("not ", extension);
                             }));
  for (const std::string& path : listing.folders) {
    listing.left_out.push_back(absl::StrCat(PrintableUtf8(std::filesystem::path(path).filename().string()), " (a folder)"));
  }
  DataFiles found = FilesOf(std::move(listing));
  if (found.files.empty()) {
    const std::string kind = extension.empty() ? "files" : absl::StrCat(extension, " files");
    absl::Status status =
        DataError(absl::StrCat("data folder ", AbsolutePath(folder), " holds no ", kind,
                               ": put this site's data there, or point `data` in worker.yaml at it", DescribeLeftOut(found)));
    return extension.empty() ? status : WithRefusal(std::move(status), absl::StrCat("this site holds no ", kind, " (the run's data.kind)"));
  }
  return found;
}

std::string DescribeLeftOut(const DataFiles& files) {
  if (files.left_out.empty()) {
    return "";
  }
  const uint64_t more = files.left_out_count - files.left_out.size();
  return absl::StrCat("; not read: ", absl::StrJoin(files.left_out, ", "), more > 0 ? absl::StrCat(" and ", more, " more") : "");
}

absl::StatusOr<std::string> ReadDataBytes(const std::string& path, uint64_t& budget) {
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

absl::StatusOr<std::string> ReadDataFile(const std::string& path, uint64_t& budget) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::string bytes, ReadDataBytes(path, budget));
  if (absl::StartsWith(bytes, "\xff\xfe") || absl::StartsWith(bytes, "\xfe\xff")) {
    return DataError(absl::StrCat(path, " is UTF-16: convert it (iconv -f UTF-16 -t UTF-8), or save it as UTF-8"));
  }
  if (const size_t zero = bytes.find('\0'); zero != std::string::npos) {
    return DataError(absl::StrCat(path, ": byte ", zero,
                                  " is 0, as in UTF-16 (iconv -f UTF-16LE -t UTF-8 converts it) and in files that are",
                                  " no text: convert the file, or move it out of the data folder"));
  }
  if (absl::StartsWith(bytes, "\xef\xbb\xbf")) {  // the byte order mark that spreadsheets write
    bytes.erase(0, 3);
  }
  return bytes;
}

}  // namespace tributary::worker
