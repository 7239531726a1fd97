// The coordinator as a whole: data folder, journal, metrics, health, the Coordinator itself, and the gRPC server.
#ifndef TRIBUTARY_COORDINATOR_SERVER_H_
#define TRIBUTARY_COORDINATOR_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tributary/v1/config.pb.h"

namespace tributary::coordinator {

// Where a coordinator serves, as host:port that a client on this machine can use (a wildcard host becomes loopback). Empty: off.
struct Endpoints {
  std::string listen;
  std::string health;
  std::string metrics;
  std::string status;
  std::string enrolment;
};

// Thread-safe.
class Server {
 public:
  struct Options {
    // No TLS; refused for an address that is not loopback, unless `insecure_anywhere`. Warns every minute.
    bool insecure = false;
    bool insecure_anywhere = false;
    // A storage error after which nothing more can be promised. Called once, on another thread; stop the process with this status.
    std::function<void(const absl::Status&)> fatal;
  };

  // What can be said about a configuration without serving: TLS files, addresses. Errors as Start's.
  static absl::Status Check(const v1::CoordinatorConfig& config, const Options& options);

  // Starts everything; health says NOT_SERVING until the journal is recovered, and endpoints.json appears in the data folder once sessions
  // are accepted. Errors, each with what to do: credentials (kCredentials), an address (kUsage), the data folder (kStorage: not writable,
  // full, in use), a damaged journal or snapshot (kDamaged).
  static absl::StatusOr<std::unique_ptr<Server>> Start(const v1::CoordinatorConfig& config, const Options& options);

  // Stops at once, without draining. The journal is at a safe point at every moment.
  virtual ~Server() = default;

  virtual const Endpoints& endpoints() const = 0;

  // Takes over from `config`, which was read again, what can change while it serves: certificate files, sites, operators and auditors.
  // Sessions of sites that are gone from the list are closed. Logs what changed, and which other keys need a restart. An error changes
  // nothing: an address or a certificate that Check would refuse. Not beside itself or Shutdown.
  virtual absl::Status Reload(const v1::CoordinatorConfig& config) = 0;

  // Health says NOT_SERVING, no new session is accepted, the round in flight is finished within config.drain_timeout, sessions are told
  // when to reconnect; then `drained` is called, on another thread. Once.
  virtual void Drain(std::function<void()> drained) = 0;

  // Ends what still runs, within `grace`, removes endpoints.json, and lets go of the data folder. Blocks. Idempotent.
  virtual void Shutdown(absl::Duration grace) = 0;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_SERVER_H_
