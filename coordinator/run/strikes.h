// When updates that are refused for what they hold cost a site its place in the run.
//
// Three within twenty rounds: a worker that is broken or hostile sends them again and again, and an honest one hardly ever. The site is
// then quarantined until an operator readmits it. Both stand in the run's counters of the site, so that a restart knows them.
#ifndef TRIBUTARY_COORDINATOR_RUN_STRIKES_H_
#define TRIBUTARY_COORDINATOR_RUN_STRIKES_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

inline constexpr int kMostStrikes = 3;
inline constexpr uint64_t kStrikeRounds = 20;

// An update of the site for `round` was refused, and why; several of one round count once. True: the site is quarantined by it, as
// site.quarantine() says.
bool Strike(v1::SiteStatus& site, uint64_t round, absl::string_view reason);
// `site`: null if the run knows no site of this name. NotFound: so. FailedPrecondition: it is not quarantined.
absl::Status CheckQuarantined(const v1::SiteStatus* site, absl::string_view name);
// The site is quarantined no more, and starts without strikes.
void Readmit(v1::SiteStatus& site);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_STRIKES_H_
