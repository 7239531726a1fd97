// Where the messages that gRPC itself logs go.
#ifndef TRIBUTARY_COMMON_GRPC_LOG_H_
#define TRIBUTARY_COMMON_GRPC_LOG_H_

#include "common/log.h"

namespace tributary {

// From now on gRPC's errors go to our log at this level, and nothing else that it says goes anywhere. What they mean for a call comes back
// as its status, in our words, so that a program may want them at kDebug, or not at all: kNone. Before the first use of gRPC.
void RouteGrpcLog(LogLevel level);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_GRPC_LOG_H_
