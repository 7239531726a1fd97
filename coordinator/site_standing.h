// Where a site of the federation stands at one moment.
#ifndef TRIBUTARY_COORDINATOR_SITE_STANDING_H_
#define TRIBUTARY_COORDINATOR_SITE_STANDING_H_

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "coordinator/run/membership.h"

namespace tributary::coordinator {

// A site on the list.
struct SiteStanding {
  std::string site;
  std::string state;                     // PresenceName's
  std::string note;                      // why it refused, left or is quarantined; as it said it
  std::string run_id;                    // that takes it; empty: none in progress does
  std::string software_version;          // of the session that is open; as it said it
  std::optional<absl::Time> last_heard;  // absent: not since the coordinator started
};

// State and note of `site`, as far as its membership knows.
SiteStanding StandingIn(const Membership& membership, const std::string& site);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_SITE_STANDING_H_
