// A run on its way into the queue, as whoever submits it sees it.
#ifndef TRIBUTARY_COORDINATOR_RUN_SUBMISSION_H_
#define TRIBUTARY_COORDINATOR_RUN_SUBMISSION_H_

#include "absl/status/status.h"

namespace tributary::coordinator {

// Made, taken and dropped on the coordinator's executor; Prepare, once, on any thread.
class Submission {
 public:
  virtual ~Submission() = default;
  // Makes state[0] and writes its snapshot. InvalidArgument: the run's file of weights does not fit its model. ResourceExhausted, Internal,
  // exit code kStorage: it cannot be written.
  virtual absl::Status Prepare() = 0;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_SUBMISSION_H_
