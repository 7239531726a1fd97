#include "common/temporary_directory.h"

#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tributary {

absl::StatusOr<TemporaryDirectory> TemporaryDirectory::Create(Medium medium) {
  constexpr char kMemory[] = "/dev/shm";
  std::error_code error;
  std::filesystem::path place = std::filesystem::temp_directory_path(error);
  if (error) {
    place = "/tmp";
  }
  if (medium == Medium::kMemory && access(kMemory, W_OK) == 0) {
    place = kMemory;
  }
  std::string path = (place / "tributary-XXXXXX").string();
  if (mkdtemp(path.data()) == nullptr) {
    return absl::InternalError(absl::StrCat("cannot make a temporary folder in ", place.string(), ": ", std::strerror(errno)));
  }
  return TemporaryDirectory(std::move(path));
}

TemporaryDirectory::~TemporaryDirectory() {
  if (!path_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
}

}  // namespace tributary
