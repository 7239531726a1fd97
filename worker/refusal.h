// What the operator is told when a site refuses a run that it cannot train.
//
// The error itself names files and quotes what stands in them, and stays at the site. Beside it travels what may be told: what the run asks
// for, and that the site's data or program is not so.
#ifndef TRIBUTARY_WORKER_REFUSAL_H_
#define TRIBUTARY_WORKER_REFUSAL_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/string_view.h"

namespace tributary::worker {

inline constexpr char kRefusalPayload[] = "tributary/refusal";

// `status`, not OK, with what is told. `told` names keys of the run file; no file, column or value of the site.
inline absl::Status WithRefusal(absl::Status status, absl::string_view told) {
  status.SetPayload(kRefusalPayload, absl::Cord(told));
  return status;
}

// What is told of `status`.
inline std::string RefusalOf(const absl::Status& status) {
  const auto told = status.GetPayload(kRefusalPayload);
  return told ? std::string(*told) : "this site cannot train the run; its own log says why";
}

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_REFUSAL_H_
