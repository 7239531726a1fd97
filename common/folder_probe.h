// Whether a folder can be written, found out by writing.
#ifndef TRIBUTARY_COMMON_FOLDER_PROBE_H_
#define TRIBUTARY_COMMON_FOLDER_PROBE_H_

#include <string>

#include "absl/status/status.h"

namespace tributary {

// Writes a small file into `directory`, makes it durable, renames and removes it, as everything that must not be lost is written there.
// Permissions alone tell nothing of a file system that is read-only or full, nor what root may do. Exit code kStorage.
absl::Status ProbeFolder(const std::string& directory);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_FOLDER_PROBE_H_
