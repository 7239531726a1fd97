// A folder that is removed, with all that is in it, when its owner is done.
#ifndef TRIBUTARY_COMMON_TEMPORARY_DIRECTORY_H_
#define TRIBUTARY_COMMON_TEMPORARY_DIRECTORY_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace tributary {

// Movable; what was moved from removes nothing.
class TemporaryDirectory {
 public:
  // kMemory: in memory where the system has a place for that, so that a sync costs nothing.
  enum class Medium { kDisk, kMemory };

  // An empty folder that only this user may enter. Internal, with the place, if it cannot be made.
  static absl::StatusOr<TemporaryDirectory> Create(Medium medium);

  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory();

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}

  std::string path_;
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_TEMPORARY_DIRECTORY_H_
