// The worker's page for the people of its site: what it does, what it sent, what it may do. Pure.
#ifndef TRIBUTARY_WORKER_STATUS_PAGE_H_
#define TRIBUTARY_WORKER_STATUS_PAGE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tributary/v1/config.pb.h"
#include "worker/sent_history.h"

namespace tributary::worker {

struct WorkerNote {
  absl::Time at;
  std::string text;  // of the log; may quote the coordinator
};

// Where a worker stands at one moment.
struct WorkerStanding {
  v1::WorkerConfig config;  // in force
  std::string software_version;
  std::string coordinator;  // and the way there
  bool connected = false;
  std::string run;                               // that it takes part in; empty: none
  std::optional<uint64_t> round;                 // of the state that it holds
  std::optional<absl::Time> certificate_expiry;  // absent: no TLS
  std::optional<std::string> quiet_until;        // "06:00"; absent: no quiet hours now
  std::vector<WorkerNote> notes;                 // newest first
  std::vector<Sent> sent;                        // oldest first
};

// Whole HTML, which asks for itself again every few seconds. What the coordinator said is escaped.
std::string StatusPage(const WorkerStanding& standing, absl::Time now);

// In its place while the worker is busy with something longer.
std::string BusyPage();

// For a terminal: what was sent of each run, then the newest `most` of `sent`.
std::string SentText(const std::vector<Sent>& sent, size_t most);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_STATUS_PAGE_H_
