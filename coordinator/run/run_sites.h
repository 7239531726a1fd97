// Which sites a run takes: those that its `participation.sites` names, or every site of the federation where it names none.
#ifndef TRIBUTARY_COORDINATOR_RUN_RUN_SITES_H_
#define TRIBUTARY_COORDINATOR_RUN_RUN_SITES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tributary/v1/run.pb.h"

namespace tributary::coordinator {

bool TakesSite(const v1::RunSpec& run, const std::string& site);
// Whether there may be a site that both take: then they cannot go on side by side.
bool ShareSites(const v1::RunSpec& run, const v1::RunSpec& other);
// How many there are for the run, of a federation with `all` sites.
uint64_t SitesOf(const v1::RunSpec& run, uint64_t all);
// InvalidArgument: it names a site that is none of `sites`, all there are, or needs more members than it can have.
absl::Status CheckSites(const v1::RunSpec& run, const std::vector<std::string>& sites);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_RUN_SITES_H_
