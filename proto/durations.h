// Durations of the configuration as spans of time.
#ifndef TRIBUTARY_PROTO_DURATIONS_H_
#define TRIBUTARY_PROTO_DURATIONS_H_

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"

namespace tributary {

inline absl::Duration DurationOf(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_DURATIONS_H_
