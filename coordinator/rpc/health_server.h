// grpc.health.v1.Health, alone on a plaintext address: a Kubernetes probe has no certificate to present.
#ifndef TRIBUTARY_COORDINATOR_RPC_HEALTH_SERVER_H_
#define TRIBUTARY_COORDINATOR_RPC_HEALTH_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace tributary::coordinator {

enum class Health { kNotServing, kServing };

// Answers Check for the server as a whole (the empty service name; others are NOT_FOUND). Watch and everything else are UNIMPLEMENTED.
// Thread-safe.
class HealthServer {
 public:
  // NOT_SERVING from its first moment. InvalidArgument, exit code kUsage: cannot listen on `listen` (host:port), and why.
  static absl::StatusOr<std::unique_ptr<HealthServer>> Start(const std::string& listen);
  virtual ~HealthServer() = default;

  virtual void Set(Health health) = 0;
  // The port listened on.
  virtual int port() const = 0;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_HEALTH_SERVER_H_
