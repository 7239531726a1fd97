#include "coordinator/run/run_sites.h"

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/excerpt.h"
#include "proto/config/run_options.h"

namespace tributary::coordinator {

bool TakesSite(const v1::RunSpec& run, const std::string& site) {
  const auto& named = run.participation().sites();
  return named.empty() || absl::c_linear_search(named, site);
}

bool ShareSites(const v1::RunSpec& run, const v1::RunSpec& other) {
  const auto& named = run.participation().sites();
  return named.empty() || absl::c_any_of(named, [&other](const std::string& site) { return TakesSite(other, site); });
}

uint64_t SitesOf(const v1::RunSpec& run, uint64_t all) {
  const auto& named = run.participation().sites();
  return named.empty() ? all : static_cast<uint64_t>(named.size());
}

absl::Status CheckSites(const v1::RunSpec& run, const std::vector<std::string>& sites) {
  for (const std::string& site : run.participation().sites()) {
    if (!absl::c_linear_search(sites, site)) {
      return absl::InvalidArgumentError(absl::StrCat("participation.sites: ", Excerpt(site), " is not a site of this federation"));
    }
  }
  return CheckMinWorkers(run, static_cast<int>(SitesOf(run, sites.size())));
}

}  // namespace tributary::coordinator
