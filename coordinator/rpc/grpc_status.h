// absl::Status as gRPC's, which has the same codes.
#ifndef TRIBUTARY_COORDINATOR_RPC_GRPC_STATUS_H_
#define TRIBUTARY_COORDINATOR_RPC_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace tributary::coordinator {

// The message is cut at 2,000 bytes: it travels as metadata, which peers bound.
inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) {
    return grpc::Status::OK;
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message().substr(0, 2000)));
}

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_GRPC_STATUS_H_
