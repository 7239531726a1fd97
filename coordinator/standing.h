// Where a federation stands at one moment: what the status page shows.
#ifndef TRIBUTARY_COORDINATOR_STANDING_H_
#define TRIBUTARY_COORDINATOR_STANDING_H_

#include <cstddef>
#include <string>
#include <vector>

#include "coordinator/coordinator.h"
#include "coordinator/journal/journal.h"
#include "coordinator/site_standing.h"
#include "proto/run_curves.h"
#include "tributary/v1/admin.pb.h"

namespace tributary::coordinator {

struct RunEvent {
  std::string run_id;
  JournaledEvent event;
};

struct Standing {
  std::string federation;
  v1::ServerInfo server;
  std::vector<SiteStanding> sites;  // in the order of their names
  // Newest first; the history is there for those in progress, or else for the newest.
  std::vector<ReportedRun> runs;
  size_t older_runs = 0;         // that are not in `runs`
  std::vector<RunEvent> events;  // of `runs`, newest first
};

// On the coordinator's executor; `journal` is the coordinator's. What of a run cannot be read is left out; so is the federation's name.
Standing StandingOf(Coordinator& coordinator, Journal& journal);

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_STANDING_H_
