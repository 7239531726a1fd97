#include "coordinator/standing.h"

#include <algorithm>
#include <utility>

#include "proto/run_state.h"

namespace tributary::coordinator {
namespace {

constexpr int kMostRuns = 10;
constexpr size_t kMostEvents = 30;

bool InProgress(v1::RunState state) {
  return !IsOver(state) && state != v1::SUBMITTED;
}

}  // namespace

SiteStanding StandingIn(const Membership& membership, const std::string& site) {
  SiteStanding standing;
  standing.site = site;
  const auto member = membership.sites().find(site);
  const bool is_known = member != membership.sites().end();
  standing.state = std::string(PresenceName(is_known ? member->second.presence : Presence::kAway));
  standing.note = is_known ? member->second.note : "";
  return standing;
}

Standing StandingOf(Coordinator& coordinator, Journal& journal) {
  Standing standing;
  standing.server = coordinator.GetServerInfo();
  standing.sites = coordinator.GetSites();
  const v1::ListRunsResponse all = coordinator.ListRuns();
  const bool is_idle = std::none_of(all.runs().begin(), all.runs().end(), [](const v1::RunStatus& run) { return InProgress(run.state()); });
  for (int i = 0; i < std::min(all.runs_size(), kMostRuns); ++i) {
    ReportedRun run{all.runs(i), {}};
    const std::string& run_id = run.status.run_id();
    if (InProgress(run.status.state()) || (is_idle && i == 0)) {
      run.history = coordinator.GetRunHistory(run_id).value_or(v1::RunHistory());
    }
    for (JournaledEvent& event : journal.Events(run_id).value_or(std::vector<JournaledEvent>())) {
      standing.events.push_back({run_id, std::move(event)});
    }
    standing.runs.push_back(std::move(run));
  }
  standing.older_runs = static_cast<size_t>(all.runs_size()) - standing.runs.size();
  std::stable_sort(standing.events.begin(), standing.events.end(),
                   [](const RunEvent& a, const RunEvent& b) { return a.event.unix_ms > b.event.unix_ms; });
  standing.events.resize(std::min(standing.events.size(), kMostEvents));
  return standing;
}

}  // namespace tributary::coordinator
