// The files of a site's data folder. Their names and contents stay on site: they appear in errors, which go to this site's operator only
// (worker/refusal.h: what others are told).
#ifndef TRIBUTARY_WORKER_DATA_FOLDER_H_
#define TRIBUTARY_WORKER_DATA_FOLDER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tributary::worker {

// Data is held in memory: more than this in one folder is refused.
inline constexpr uint64_t kMaxDataBytes = uint64_t{4} << 30;

// InvalidArgument with exit code kData.
absl::Status DataError(absl::string_view message);

// What a data folder holds.
struct DataFiles {
  std::vector<std::string> files;  // to be read, paths, by name
  // The rest, by name: "notes.txt (not .csv)", "old (a folder)". The first kMaxNamed of `left_out_count`.
  std::vector<std::string> left_out;
  uint64_t left_out_count = 0;
};
inline constexpr size_t kMaxNamed = 10;

// What a folder holds, before anyone has said that it should hold something.
struct FolderListing {
  std::vector<std::string> files;    // as in DataFiles
  std::vector<std::string> folders;  // visible, paths, by name
  std::vector<std::string> left_out;
};
// Visible regular files (or links to some) directly in `folder` of which `why_not` says nothing, and visible folders. `why_not` is given
// the name of a file and says why it is left out: "not .csv". DataError: the folder is missing or cannot be read.
absl::StatusOr<FolderListing> ListFolder(const std::string& folder, const std::function<std::string(absl::string_view name)>& why_not);
// With `left_out` by name, counted and cut.
DataFiles FilesOf(FolderListing listing);

// Visible regular files (or links to some) directly in `folder` whose names end in `extension`, in upper or lower case (empty: all).
// DataError: the folder is missing or cannot be read, or holds no such file.
absl::StatusOr<DataFiles> ListDataFiles(const std::string& folder, absl::string_view extension);
// "; not read: notes.txt (not .csv), old (a folder) and 3 more", or nothing.
std::string DescribeLeftOut(const DataFiles& files);

// The whole file as it is. DataError: it cannot be read, or `budget`, which it is charged to, does not suffice.
absl::StatusOr<std::string> ReadDataBytes(const std::string& path, uint64_t& budget);

// The whole file, which is to be text, without its byte order mark. DataError: it cannot be read, or is UTF-16 or binary (it has a byte 0),
// or `budget`, which it is charged to, does not suffice.
absl::StatusOr<std::string> ReadDataFile(const std::string& path, uint64_t& budget);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_FOLDER_H_
