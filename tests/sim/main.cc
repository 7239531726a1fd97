#include <cstdio>
#include <cstdlib>
#include <string>
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "tests/sim/simulation.h"
using namespace tributary;
using namespace tributary::sim;
int main(int argc, char** argv) {
  SetLogLevel(static_cast<LogLevel>(4));
  const uint64_t first = std::strtoull(argv[1], nullptr, 10), n = std::strtoull(argv[2], nullptr, 10);
  const bool trace = argc > 3;
  std::map<std::string, uint64_t> faults;
  uint64_t bad = 0, commits = 0, events = 0;
  std::map<int, int> ends;
  for (uint64_t s = first; s < first + n; ++s) {
    const Outcome o = RunScenario(ScenarioOf(s, 50, 8), trace);
    for (auto& [k, v] : o.faults) faults[k] += v;
    commits += o.commits;
    events += o.events;
    for (auto st : o.states) ++ends[st];
    if (o.violation) {
      ++bad;
      std::printf("seed %llu t=%s event %llu: %s: %s\n", (unsigned long long)s, absl::FormatDuration(o.violation->at).c_str(),
                  (unsigned long long)o.violation->event, o.violation->invariant.c_str(), o.violation->detail.c_str());
    }
    if (trace || n == 1)
      std::printf("trace hash %llx commits %llu events %llu simulated %s\n", (unsigned long long)o.trace_hash,
                  (unsigned long long)o.commits, (unsigned long long)o.events, absl::FormatDuration(o.simulated).c_str());
  }
  std::printf("bad %llu of %llu, commits %llu events %llu\n", (unsigned long long)bad, (unsigned long long)n, (unsigned long long)commits,
              (unsigned long long)events);
  for (auto& [k, v] : faults) std::printf("  %s: %llu\n", k.c_str(), (unsigned long long)v);
  for (auto& [k, v] : ends) std::printf("  %s: %d\n", v1::RunState_Name(static_cast<v1::RunState>(k)).c_str(), v);
}
