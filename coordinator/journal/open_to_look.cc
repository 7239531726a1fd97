#include "coordinator/journal/open_to_look.h"

#include <cstdint>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"

namespace tributary::coordinator {

absl::StatusOr<std::unique_ptr<Database>> OpenToLook(const std::string& path, JournalDisk& disk) {
  for (const char* const log : {"-wal", "-journal"}) {
    TRIBUTARY_ASSIGN_OR_RETURN(const std::optional<int64_t> log_size, disk.Size(path + log));
    if (log_size.value_or(0) > 0) {
      return Database::Open(path, path, SQLITE_OPEN_READONLY, disk.vfs());
    }
  }
  std::string uri = absl::StartsWith(path, "/") ? "file://" : "file:";
  for (const char c : path) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("/._-", c)) {
      uri.push_back(c);
    } else {
      absl::StrAppendFormat(&uri, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return Database::Open(uri + "?immutable=1", path, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, disk.vfs());
}

}  // namespace tributary::coordinator
