// The files of a site's data folder. Their names and contents stay on site: they appear in errors, which go to this site's operator only
// (worker/refusal.h: what others are told).
#ifndef TRIBUTARY_WORKER_DATA_FOLDER_H_
#define TRIBUTARY_WORKER_DATA_FOLDER_H_

#include <cstdint>
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

// Visible regular files (or links to some) directly in `folder` whose names end in `extension` (empty: all), sorted by name.
// DataError: the folder is missing or cannot be read, or holds no such file.
absl::StatusOr<std::vector<std::string>> ListDataFiles(const std::string& folder, absl::string_view extension);

// The whole file. DataError: it cannot be read, or `budget`, which it is charged to, does not suffice.
absl::StatusOr<std::string> ReadDataFile(const std::string& path, uint64_t& budget);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_DATA_FOLDER_H_
