// Tells the log how this site's training goes on: a summary at INFO of the rounds since the last, at most one every ten seconds.
#ifndef TRIBUTARY_WORKER_PROGRESS_LOG_H_
#define TRIBUTARY_WORKER_PROGRESS_LOG_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "common/byte_kind.h"
#include "tributary/v1/session.pb.h"

namespace tributary::worker {

// Not thread-safe. Times are monotonic.
class ProgressLog {
 public:
  // Tells what is left of the run before.
  void BeginRun(const std::string& name, absl::Time now);
  void Trained(uint64_t round, double train_loss);
  // Of bytes at the socket.
  void Moved(ByteDirection direction, uint64_t bytes);
  // A receipt came.
  void Settled(v1::Receipt::Result result, absl::Time now);
  // What is not told yet, if anything: before other news.
  void Flush(absl::Time now);

 private:
  // Since the last summary.
  struct Since {
    uint64_t first_round = 0;  // 0: none
    uint64_t last_round = 0;
    double train_loss = 0;
    uint64_t included = 0;
    uint64_t late = 0;
    uint64_t rejected = 0;
    uint64_t bytes_up = 0;
    uint64_t bytes_down = 0;
  };

  std::string run_;
  Since since_;
  absl::Time told_at_ = absl::InfinitePast();
};

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_PROGRESS_LOG_H_
