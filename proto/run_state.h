// What the states of a run have in common.
#ifndef TRIBUTARY_PROTO_RUN_STATE_H_
#define TRIBUTARY_PROTO_RUN_STATE_H_

#include "tributary/v1/run.pb.h"

namespace tributary {

// No more rounds will be.
inline bool IsOver(v1::RunState state) {
  return state == v1::FINISHED || state == v1::FAILED || state == v1::STOPPED;
}

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_RUN_STATE_H_
