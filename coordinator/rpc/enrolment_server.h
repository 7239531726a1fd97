// EnrolmentService, alone on an address where callers have no certificate.
#ifndef TRIBUTARY_COORDINATOR_RPC_ENROLMENT_SERVER_H_
#define TRIBUTARY_COORDINATOR_RPC_ENROLMENT_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/executor.h"
#include "common/tls.h"
#include "coordinator/enrolment.h"
#include "coordinator/metrics.h"
#include "coordinator/site_registry.h"

namespace tributary::coordinator {

// Anybody may connect: connections, their time, streams, messages and calls are bounded, and a token that is not known goes no further than
// the registry. Thread-safe.
class EnrolmentServer {
 public:
  struct Dependencies {
    CertificateSource certificates;  // what it presents
    CoordinatorMetrics* metrics = nullptr;
    const SiteRegistry* sites = nullptr;
    Enrolment* enrolment = nullptr;  // on `executor`
    SerialExecutor* executor = nullptr;
  };
  // All of `dependencies` must outlive it. InvalidArgument, exit code kUsage: cannot listen on `listen` (host:port), and why.
  static absl::StatusOr<std::unique_ptr<EnrolmentServer>> Start(const std::string& listen, Dependencies dependencies);
  // Waits for calls under way; not on the executor's own thread.
  virtual ~EnrolmentServer() = default;

  // The port listened on.
  virtual int port() const = 0;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RPC_ENROLMENT_SERVER_H_
