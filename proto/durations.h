// Durations of messages as spans of time, and back.
#ifndef TRIBUTARY_PROTO_DURATIONS_H_
#define TRIBUTARY_PROTO_DURATIONS_H_

#include <cstdint>

#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"

namespace tributary {

inline absl::Duration DurationOf(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

// Of a finite duration; less than a nanosecond is dropped.
inline google::protobuf::Duration ProtoDurationOf(absl::Duration duration) {
  google::protobuf::Duration result;
  result.set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  result.set_nanos(static_cast<int32_t>(duration / absl::Nanoseconds(1)));
  return result;
}

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_DURATIONS_H_
