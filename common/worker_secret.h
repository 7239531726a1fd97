// By what a coordinator knows a worker again that comes back before the end of its last session was noticed: a secret of the worker's own,
// which no copy of its key brings along.
#ifndef TRIBUTARY_COMMON_WORKER_SECRET_H_
#define TRIBUTARY_COMMON_WORKER_SECRET_H_

#include <string>

#include "absl/strings/string_view.h"

namespace tributary {

// The metadata key under which a worker presents it on every call.
inline constexpr char kWorkerSecretKey[] = "x-tributary-worker-secret";

// 128 random bits as 32 hexadecimal digits.
std::string NewWorkerSecret();

// Whether `text` has the form of one.
bool IsWorkerSecret(absl::string_view text);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_WORKER_SECRET_H_
