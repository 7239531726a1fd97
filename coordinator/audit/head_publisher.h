// The heads of the audit log that workers are told of: one sequence, the same for all, each proven to continue the one before.
#ifndef TRIBUTARY_COORDINATOR_AUDIT_HEAD_PUBLISHER_H_
#define TRIBUTARY_COORDINATOR_AUDIT_HEAD_PUBLISHER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "coordinator/audit/audit_log.h"
#include "tributary/v1/audit.pb.h"
#include "tributary/v1/session.pb.h"

namespace tributary::coordinator {

// Rounds may be faster, and a head with its proof is up to a kilobyte: more than a small update.
inline constexpr absl::Duration kHeadInterval = absl::Seconds(10);

// Not thread-safe: used on the coordinator's executor. Errors of reading and writing the journal. A head that cannot be signed is logged,
// and not published.
class HeadPublisher {
 public:
  // Adds signature and certificates.
  using Signer = std::function<absl::Status(v1::TreeHead& head)>;
  using Message = std::shared_ptr<const v1::CoordinatorMessage>;
  using Send = absl::FunctionRef<void(const std::string& site, const Message& head)>;
  enum class When { kIfDue, kNow };

  // `log` and `clock` outlive it.
  HeadPublisher(AuditLog* log, const Clock* clock, Signer sign) : log_(*log), clock_(*clock), sign_(std::move(sign)) {}

  // Sends the next head to every site whose session takes heads, if the log has grown since the last one; kIfDue: and that is kHeadInterval
  // ago.
  absl::Status Publish(When when, Send send);
  // A session begins, and says in its Hello whether it takes heads, and which it holds: sends it the last one with the proof from there.
  // Where the log is shorter than that, without a proof: there is none.
  absl::Status Greet(const std::string& site, const v1::Hello& hello, Send send);

 private:
  // A new last head. False: it could not be signed.
  absl::StatusOr<bool> Advance();
  absl::StatusOr<v1::TreeHeadUpdate> From(uint64_t size);

  AuditLog& log_;
  const Clock& clock_;
  const Signer sign_;
  std::set<std::string> takers_;  // sites
  std::optional<v1::TreeHead> last_;
  absl::Time published_ = absl::InfinitePast();
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_AUDIT_HEAD_PUBLISHER_H_
