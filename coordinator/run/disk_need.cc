#include "coordinator/run/disk_need.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/format_bytes.h"
#include "coordinator/run/log_keeping.h"
#include "optim/encoder.h"
#include "optim/modes.h"

namespace tributary::coordinator {
namespace {

// A row without its payload or record.
constexpr uint64_t kRowBytes = 512;

// With the server-side residual beside it.
uint64_t SnapshotBytes(const RunModel& model) {
  const bool residual = optim::TraitsOf(model.options.mode).family == optim::Family::kLevels;
  return model.SnapshotBytes() + (residual ? sizeof(int64_t) * static_cast<uint64_t>(model.layout.size()) : 0);
}

}  // namespace

uint64_t MostMembers(const RunModel& model, uint64_t sites) {
  return std::min<uint64_t>(model.spec.participation().max_workers(), sites);
}

uint64_t DiskBytes(const RunModel& model, const v1::CoordinatorConfig& config, uint64_t members, uint64_t round) {
  const optim::PayloadBounds bounds = optim::MaxPayloadBytes(model.options, model.layout);
  const uint64_t commit = bounds.commit + kRowBytes;
  const uint64_t updates = members * (bounds.update + kRowBytes);
  const v1::SnapshotConfig& snapshots = config.snapshots();
  // From one snapshot to the next; updates stay as long.
  uint64_t interval = std::max<uint64_t>(1, snapshots.every());
  if (snapshots.log() > 0) {
    interval = std::min(interval, snapshots.log() / (commit + updates) + 1);
  }
  uint64_t commits = round;
  if (Prunes(config.log())) {
    const uint64_t by_bytes = config.log().bytes() == 0 ? 0 : config.log().bytes() / commit + interval;
    const uint64_t by_rounds = config.log().rounds() == 0 ? 0 : config.log().rounds() + interval;
    commits = std::min(round, std::max({(uint64_t{snapshots.keep()} + 1) * interval, by_rounds, by_bytes}));
  }
  // The initial weights, those that are kept, and the one that is written before the oldest goes.
  const uint64_t states = 1 + std::min<uint64_t>(uint64_t{snapshots.keep()} + 1, (round + interval - 1) / interval);
  return commits * commit + std::min(round, interval) * updates + states * SnapshotBytes(model) + (round - commits) * kRowBytes;
}

absl::StatusOr<std::string> JudgeDisk(const RunModel& model, const v1::CoordinatorConfig& config, uint64_t members, uint64_t committed,
                                      uint64_t free) {
  const auto more = [&](uint64_t round) {
    const uint64_t there = committed == 0 ? 0 : DiskBytes(model, config, members, committed);
    const uint64_t then = DiskBytes(model, config, members, round);
    return then - std::min(then, there);
  };
  const uint64_t next = more(committed + 1);
  if (next > free) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "run ", model.spec.name(), ": one round with ", members, " sites and ", committed == 0 ? "the first" : "its", " snapshots take ",
        FormatBytes(static_cast<double>(next)), " of the coordinator's disk, and ", FormatBytes(static_cast<double>(free)), " are free in ",
        config.data_dir(), "; free some space, then ", committed == 0 ? "submit" : "extend", " it again"));
  }
  const uint64_t rounds = model.spec.rounds();
  const uint64_t whole = more(rounds);
  if (whole <= free) {
    return "";
  }
  return absl::StrCat("its ", rounds - committed, committed == 0 ? "" : " further", " rounds with up to ", members, " sites may take ",
                      FormatBytes(static_cast<double>(whole)), " of the coordinator's disk, and ", FormatBytes(static_cast<double>(free)),
                      " are free in ", config.data_dir(), "; free some space",
                      Prunes(config.log()) ? "" : ", or set `log.keep: since_snapshot` in coordinator.yaml");
}

}  // namespace tributary::coordinator
