// Tells when the contents of a file have changed.
#ifndef TRIBUTARY_COMMON_FILE_WATCH_H_
#define TRIBUTARY_COMMON_FILE_WATCH_H_

#include <functional>
#include <string>

#include "absl/time/time.h"
#include "common/executor.h"

namespace tributary {

class FileWatch {
 public:
  // The first look is here: whoever reads the file after it misses no change. Calls `changed`, on the watch's own thread, after each look
  // that finds other contents. While the file cannot be read, nothing has changed. Links are followed, so that one that leads elsewhere, as
  // Kubernetes mounts its volumes, is a change.
  FileWatch(std::string path, std::function<void()> changed, absl::Duration interval = absl::Seconds(1));
  // Waits for a look under way.
  ~FileWatch();

 private:
  void Look();

  const std::string path_;
  const std::function<void()> changed_;
  const absl::Duration interval_;
  std::string contents_;  // on the watch's thread
  SerialExecutor thread_;
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_FILE_WATCH_H_
