// The coordinator's page for people who have no Grafana: runs, sites, bytes, events. Pure.
#ifndef TRIBUTARY_COORDINATOR_STATUS_PAGE_H_
#define TRIBUTARY_COORDINATOR_STATUS_PAGE_H_

#include <string>

#include "absl/time/time.h"
#include "coordinator/standing.h"

namespace tributary::coordinator {

// Whole HTML, which asks for itself again every few seconds. What sites and operators said is escaped.
std::string StatusPage(const Standing& standing, absl::Time now);

// In its place while the coordinator is busy with something longer.
std::string BusyPage();

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_STATUS_PAGE_H_
