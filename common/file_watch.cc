#include "common/file_watch.h"

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "common/files.h"

namespace tributary {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{16} << 20;

}  // namespace

FileWatch::FileWatch(std::string path, std::function<void()> changed, absl::Duration interval)
    : path_(std::move(path)), changed_(std::move(changed)), interval_(interval), thread_("file watch") {
  if (absl::StatusOr<std::string> contents = ReadFile(path_, kMaxBytes); contents.ok()) {
    contents_ = *std::move(contents);
  }
  thread_.PostAfter(interval_, [this] { Look(); });
}

FileWatch::~FileWatch() {
  thread_.Stop();
}

void FileWatch::Look() {
  absl::StatusOr<std::string> contents = ReadFile(path_, kMaxBytes);
  if (contents.ok() && *contents != contents_) {
    contents_ = *std::move(contents);
    changed_();
  }
  thread_.PostAfter(interval_, [this] { Look(); });
}

}  // namespace tributary
