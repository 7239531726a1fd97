// What a run in progress needs of the world around it: its sites to speak to, people who watch, and an end when the disk fails.
#ifndef TRIBUTARY_COORDINATOR_RUN_RUN_ENVIRONMENT_H_
#define TRIBUTARY_COORDINATOR_RUN_RUN_ENVIRONMENT_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "tributary/v1/session.pb.h"

namespace tributary::coordinator {

// Implemented by the coordinator. Not thread-safe: used on the coordinator's executor. Every method returns at
// once, and none calls back into the run but OnStandingChanged, which may read its status.
class RunEnvironment {
 public:
  virtual ~RunEnvironment() = default;

  // To the site's session; lost if it has none. `message` may be shared and must not change.
  virtual void Send(const std::string& site, std::shared_ptr<const v1::CoordinatorMessage> message) = 0;
  // To every session of a site of the run that has said Hello.
  virtual void Broadcast(const std::string& run_id, std::shared_ptr<const v1::CoordinatorMessage> message) = 0;
  // Ends the site's session with this status. The site counts as dropped when this returns.
  virtual void Close(const std::string& site, const absl::Status& status) = 0;
  // The journal or a snapshot could not be written: nothing more may be acknowledged. The run is of no further use.
  virtual void OnStorageFailed(const absl::Status& status) = 0;
  // ActiveRun::TakeHeldUpdates is to be called as soon as what has arrived up to now is handled.
  virtual void TakeHeldUpdatesSoon(const std::string& run_id) = 0;
  // ActiveRun::KeepDueSnapshot is to be called in a moment: sites that are told of a commit now have begun to fetch it then.
  virtual void KeepSnapshotSoon(const std::string& run_id) = 0;
  // The run's state or the reason for it is another than before.
  virtual void OnStandingChanged(const std::string& run_id) = 0;
};

inline void SendMessage(RunEnvironment& environment, const std::string& site, v1::CoordinatorMessage message) {
  environment.Send(site, std::make_shared<const v1::CoordinatorMessage>(std::move(message)));
}

// What callers are told from then on.
inline absl::Status StorageHasFailed() {
  return absl::UnavailableError("the coordinator is stopping after a storage error");
}

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_RUN_ENVIRONMENT_H_
