// The state that was last made for a download by replaying the log: however many sites ask for the best round, it is made once.
#ifndef TRIBUTARY_COORDINATOR_MADE_STATE_H_
#define TRIBUTARY_COORDINATOR_MADE_STATE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "common/stored_bytes.h"

namespace tributary::coordinator {

// It is kept in memory for ten minutes, or until another is asked for. Not thread-safe.
class MadeState {
 public:
  // Runs work on the owner's executor after a delay; the work may outlive this object.
  using PostAfter = std::function<void(absl::Duration, std::function<void()>)>;

  explicit MadeState(PostAfter post_after) : post_after_(std::move(post_after)) {}

  // Null: it has to be made; another one is let go, so that two are never kept.
  SharedBytes Find(const std::string& run_id, uint64_t round);
  SharedBytes Keep(const std::string& run_id, uint64_t round, SharedBytes bytes);

 private:
  struct Made {
    std::string run_id;
    uint64_t round = 0;
    SharedBytes bytes;  // null once its time is over
  };

  const PostAfter post_after_;
  std::shared_ptr<Made> made_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_MADE_STATE_H_
