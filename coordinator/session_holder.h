// Which worker a site's session belongs to, so that a stolen key takes nothing away from the worker that is there.
#ifndef TRIBUTARY_COORDINATOR_SESSION_HOLDER_H_
#define TRIBUTARY_COORDINATOR_SESSION_HOLDER_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/checksum.h"

namespace tributary::coordinator {

// Where a session comes from.
struct SessionOrigin {
  std::string address;        // for people
  std::string worker_secret;  // common/worker_secret.h; empty: of a release that has none

  std::string host() const { return address.substr(0, address.rfind(':')); }
};

// A value; not thread-safe. Keeps a digest, so that comparing tells nobody how much of a guess was right.
class SessionHolder {
 public:
  explicit SessionHolder(const SessionOrigin& origin);

  const std::string& address() const { return address_; }
  // Whether the caller is the worker that has the session: it presents the same secret. Without one nobody can tell.
  bool Is(absl::string_view worker_secret) const;
  // Whether the caller may be the worker: a session without a secret tells nothing of its worker's other calls.
  bool Allows(absl::string_view worker_secret) const { return !secret_.has_value() || Is(worker_secret); }
  // For people: that this one wants its session.
  std::string Contested(const SessionOrigin& newcomer) const;
  // What one is told that is not. AlreadyExists.
  static absl::Status Refusal(absl::string_view site, absl::Duration lease);

 private:
  std::string address_;
  std::optional<Digest> secret_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_SESSION_HOLDER_H_
