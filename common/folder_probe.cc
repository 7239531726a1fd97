#include "common/folder_probe.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

// More than file systems keep inside a directory entry, so that a full disk has no room for it.
constexpr size_t kProbeBytes = 64 << 10;

}  // namespace

absl::Status ProbeFolder(const std::string& directory) {
  const std::string file = absl::StrCat(directory, "/.probe-", getpid());
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(file, std::string(kProbeBytes, 'x'), 0600));
  return unlink(file.c_str()) == 0 ? absl::OkStatus() : StorageError("remove", file, errno);
}

}  // namespace tributary
