// The label values and the histograms' buckets of the coordinator's metrics.
#ifndef TRIBUTARY_COORDINATOR_METRIC_LABELS_H_
#define TRIBUTARY_COORDINATOR_METRIC_LABELS_H_

#include <array>
#include <cstddef>

#include "coordinator/metrics.h"
#include "prometheus/histogram.h"

namespace tributary::coordinator {

// Label values, in the order of the enums.
inline constexpr std::array kOutcomes = {"committed", "partial", "empty", "failed"};
inline constexpr std::array kRunOutcomes = {"finished", "failed", "stopped"};
inline constexpr std::array kPhases = {"wait", "aggregate", "journal", "apply", "broadcast", "compute", "encode"};
inline constexpr std::array kSiteStates = {"away", "connected", "syncing", "ready", "refused", "quarantined"};
inline constexpr std::array kUpdateResults = {"included", "late", "rejected", "skipped", "conflicting"};
inline constexpr std::array kReasons = {"run",      "round",   "not_member", "base_state", "size",
                                        "checksum", "invalid", "duplicate",  "norm",       "signature"};
inline constexpr std::array kConnectionRefusals = {"handshake", "crowded", "frames", "stranger", "expired"};
inline constexpr std::array kCallRefusals = {"identity", "list", "role", "enrolment"};
inline constexpr std::array kSplits = {"train", "validation"};

static_assert(kOutcomes.size() == static_cast<size_t>(RoundOutcome::kFailed) + 1);
static_assert(kRunOutcomes.size() == static_cast<size_t>(RunOutcome::kStopped) + 1);
static_assert(kPhases.size() == static_cast<size_t>(RoundPhase::kEncode) + 1);
static_assert(kSiteStates.size() == static_cast<size_t>(SiteState::kQuarantined) + 1);
static_assert(kUpdateResults.size() == static_cast<size_t>(UpdateResult::kConflicting) + 1);
static_assert(kReasons.size() == static_cast<size_t>(RejectionReason::kSignature) + 1);
static_assert(kConnectionRefusals.size() == static_cast<size_t>(ConnectionRefusal::kExpired) + 1);
static_assert(kCallRefusals.size() == static_cast<size_t>(CallRefusal::kEnrolment) + 1);
static_assert(kSplits.size() == static_cast<size_t>(LossSplit::kValidation) + 1);

// Rounds last from tenths of a second (toy models, one machine) to an hour (many local steps over slow links).
inline const prometheus::Histogram::BucketBoundaries& RoundBuckets() {
  static const auto& buckets =
      *new prometheus::Histogram::BucketBoundaries{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600};
  return buckets;
}
inline const prometheus::Histogram::BucketBoundaries& PhaseBuckets() {
  static const auto& buckets =
      *new prometheus::Histogram::BucketBoundaries{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300};
  return buckets;
}
// From a fast SSD to a network disk in trouble.
inline const prometheus::Histogram::BucketBoundaries& FsyncBuckets() {
  static const auto& buckets =
      *new prometheus::Histogram::BucketBoundaries{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5};
  return buckets;
}
// Powers of four from 256 B to 4 GiB.
inline prometheus::Histogram::BucketBoundaries ByteBuckets() {
  prometheus::Histogram::BucketBoundaries buckets;
  for (double bound = 256; bound <= 4294967296.0; bound *= 4) {
    buckets.push_back(bound);
  }
  return buckets;
}

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_METRIC_LABELS_H_
