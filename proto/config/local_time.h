// What `local_steps: auto` and `local_time` of a run must satisfy together.
#ifndef TRIBUTARY_PROTO_CONFIG_LOCAL_TIME_H_
#define TRIBUTARY_PROTO_CONFIG_LOCAL_TIME_H_

#include "absl/status/status.h"
#include "tributary/v1/run.pb.h"

namespace tributary {

// Who leaves the number of local steps to the sites says how long they take, and rounds wait longer than that. InvalidArgument names the
// key.
absl::Status CheckLocalTime(const v1::RunSpec& run);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_CONFIG_LOCAL_TIME_H_
