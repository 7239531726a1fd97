// Where bytes go that need not be in memory at once.
#ifndef TRIBUTARY_COMMON_BYTE_SINK_H_
#define TRIBUTARY_COMMON_BYTE_SINK_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tributary {

// Called with one piece after the other, by one thread. A piece is good until the call returns; an error ends the pieces, and is handed on.
using ByteSink = absl::FunctionRef<absl::Status(absl::string_view piece)>;

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_BYTE_SINK_H_
