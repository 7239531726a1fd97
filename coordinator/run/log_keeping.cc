#include "coordinator/run/log_keeping.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tributary::coordinator {

absl::Status CheckLogConfig(const v1::LogConfig& config) {
  return !Prunes(config) && (config.rounds() > 0 || config.bytes() > 0)
             ? absl::InvalidArgumentError(
                   "log: `rounds` and `bytes` say what stays besides, with `keep: since_snapshot`; set that, or "
                   "remove them")
             : absl::OkStatus();
}

uint64_t PrunableThrough(const v1::LogConfig& config, absl::Span<const uint64_t> record_bytes, uint64_t oldest_snapshot) {
  if (!Prunes(config)) {
    return 0;
  }
  uint64_t last = oldest_snapshot;
  const uint64_t round = record_bytes.size() - 1;
  if (config.rounds() > 0) {
    last = std::min(last, round - std::min(round, config.rounds()));
  }
  if (config.bytes() > 0) {
    const uint64_t older = record_bytes.back() - std::min(record_bytes.back(), config.bytes());
    last = std::min<uint64_t>(last, std::lower_bound(record_bytes.begin(), record_bytes.end(), older) - record_bytes.begin());
  }
  return last;
}

uint64_t OldestState(uint64_t pruned, const std::vector<JournaledSnapshot>& snapshots) {
  if (pruned == 0) {
    return 0;
  }
  const auto oldest = std::find_if(snapshots.begin(), snapshots.end(), [pruned](const auto& snapshot) { return snapshot.round >= pruned; });
  return oldest == snapshots.end() ? UINT64_MAX : oldest->round;
}

absl::Status CheckNotPruned(const std::string& run_id, uint64_t round, uint64_t pruned, uint64_t oldest) {
  if (round == 0 || round >= oldest) {
    return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("run ", run_id, " at round ", round, ": pruned; rounds up to ", pruned,
                                          " are gone by log.keep. Choose round ",
                                          oldest == UINT64_MAX ? "" : absl::StrCat(oldest, " or later, or "), "0, the initial weights"));
}

}  // namespace tributary::coordinator
