#include "coordinator/run/bench.h"

#include <algorithm>

namespace tributary::coordinator {

std::vector<Bench::Benched> Bench::RoundClosed(uint64_t round, const std::vector<std::string>& missed,
                                               const std::vector<std::string>& answered) {
  for (const std::string& site : answered) {
    records_.erase(site);
  }
  std::vector<Benched> benched;
  for (const std::string& site : missed) {
    // Without it the round would not have begun: it plays on, and its time on the bench with it.
    const bool was_needed = Find(site, round) != nullptr;
    Record& record = records_[site];
    record.benched.site = site;
    if (++record.benched.misses < kMisses || was_needed) {
      continue;
    }
    record.rounds = std::clamp<uint64_t>(2 * record.rounds, 1, kLongest);
    record.benched.until = round + 1 + record.rounds;
    benched.push_back(record.benched);
  }
  return benched;
}

const Bench::Benched* Bench::Find(const std::string& site, uint64_t round) const {
  const auto it = records_.find(site);
  return it != records_.end() && round < it->second.benched.until ? &it->second.benched : nullptr;
}

std::vector<std::string> Bench::Allow(const std::vector<std::string>& ready, uint64_t round, size_t least) const {
  std::vector<std::string> allowed;
  std::vector<const Benched*> benched;
  for (const std::string& site : ready) {
    if (const Benched* const found = Find(site, round); found != nullptr) {
      benched.push_back(found);
    } else {
      allowed.push_back(site);
    }
  }
  std::stable_sort(benched.begin(), benched.end(), [](const Benched* a, const Benched* b) { return a->until < b->until; });
  for (size_t i = 0; i < benched.size() && allowed.size() < least; ++i) {
    allowed.push_back(benched[i]->site);
  }
  std::sort(allowed.begin(), allowed.end());
  return allowed;
}

}  // namespace tributary::coordinator
