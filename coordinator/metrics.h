// The coordinator's Prometheus metrics: names are in metrics.cc, labels and buckets in metric_labels.h, and both in
// docs/reference/metrics.md; nowhere else.
//
// Every counter and histogram has all its children from the start, so that a rate is defined from zero. A gauge whose value is not known
// has no series. A site may be a label, because only the sites on the coordinator's list have series: what is said of any other is ignored.
#ifndef TRIBUTARY_COORDINATOR_METRICS_H_
#define TRIBUTARY_COORDINATOR_METRICS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/byte_kind.h"
#include "common/tls.h"

namespace tributary::coordinator {

// How a round ended, for rounds_total{outcome}.
enum class RoundOutcome {
  kCommitted,  // every member's update was included
  kPartial,    // committed at the deadline without some members
  kEmpty,      // committed without any update
  kFailed,     // never committed: the run failed or was stopped
};

// How a run ended, for runs_total{outcome}.
enum class RunOutcome { kFinished, kFailed, kStopped };

// Where a round's time goes, for round_phase_seconds{phase}.
enum class RoundPhase {
  kWait,       // start to the last included update: compute and upload at the sites
  kAggregate,  // closing the sum into a commit
  kJournal,    // making the commit durable
  kApply,      // state[r-1] to state[r], with its hash
  kBroadcast,  // handing the commit to all streams
  kCompute,    // as the sites reported: local steps (mean over sites)
  kEncode,     // as the sites reported: residual and encoding (mean over sites)
};

// Where a site stands, for site_state{site,state}, site_up{site} and sessions{state}.
enum class SiteState {
  kAway,         // no session
  kConnected,    // said Hello; no run, or not asked yet
  kSyncing,      // accepted the run and is catching up
  kReady,        // holds the current state; takes part in rounds
  kRefused,      // declined the run
  kQuarantined,  // takes part in nothing until it was resynchronised (its state differs from the log's), or readmitted (its updates)
};

// For updates_total{site,result}.
enum class UpdateResult { kIncluded, kLate, kRejected, kSkipped, kConflicting };

// Why an update was rejected, for update_rejections_total{reason}.
enum class RejectionReason {
  kRun,        // of a run that is not open
  kRound,      // of a round that is not open
  kNotMember,  // the site is not a member of the round
  kBaseState,  // trained from another state than the round's
  kSize,       // longer than allowed
  kChecksum,   // the transfer's checksum failed
  kInvalid,    // not the canonical encoding of an update: shape, bounds, order, finiteness
  kDuplicate,  // another payload of the same site was accepted before
  kNorm,       // far beyond the bound on norms
  kSignature,  // not signed by the site, or not as it must be
};

// Why a connection was turned away or cut off, for connections_refused_total{reason}.
enum class ConnectionRefusal {
  kHandshake,  // no valid certificate, not TLS, too slow, or one of too many handshakes at once
  kCrowded,    // too many connections, in all or with this certificate
  kFrames,     // more inside HTTP/2 than any worker needs
  kStranger,   // not on the lists, and did not leave
  kExpired,    // its certificate ended
};

// Why a call was refused for who made it, for calls_refused{reason}.
enum class CallRefusal {
  kIdentity,   // the certificate names nobody of this federation, or its CA may not speak for whom it names
  kList,       // not on the lists, suspended, revoked, or with a certificate from before that
  kRole,       // the call is not for this role
  kEnrolment,  // at enrol_listen: a token that is unknown, used, expired or of another site, or too many calls
};

enum class LossSplit { kTrain, kValidation };

// Thread-safe. Values are in base units (bytes, seconds since the epoch, seconds).
class CoordinatorMetrics {
 public:
  // `sites`: those that get series. `data_dir`: the folder whose file system is watched; empty: none.
  explicit CoordinatorMetrics(const std::vector<std::string>& sites, const std::string& data_dir = "");
  // The list has changed: a new site's series begin, those of a site that is gone go.
  void SetSites(const std::vector<std::string>& sites);
  // For callers without metrics: nobody reads it. Never destroyed.
  static CoordinatorMetrics& None();
  ~CoordinatorMetrics();
  CoordinatorMetrics(const CoordinatorMetrics&) = delete;
  CoordinatorMetrics& operator=(const CoordinatorMetrics&) = delete;

  // The page as Prometheus scrapes it.
  std::string Text() const;

  // Another run, of which nothing is known yet. The series of those that are over go; what is said later of a run that has none is ignored.
  void BeginRun(const std::string& run);
  // Its state (lower case). One that is over keeps its series until another begins.
  void SetRun(const std::string& run, const std::string& state);
  // Of all that belong to it.
  void SetRunSites(const std::string& run, const std::vector<std::string>& sites);
  void RunEnded(RunOutcome outcome);
  // Its last committed round; 0 before the first.
  void SetRound(const std::string& run, uint64_t round);
  void RoundEnded(RoundOutcome outcome, absl::Duration duration);
  void ObservePhase(RoundPhase phase, absl::Duration duration);

  // Of every site on the list; one that is not named is away.
  void SetSiteStates(const std::map<std::string, SiteState>& states);
  void SetSiteLastSeen(absl::string_view site, absl::Time wall_time);

  // Somebody else wanted the session of the worker that has it.
  void CountSessionConflict(absl::string_view site);
  // A session of the site was closed, for it sent more messages than any worker does.
  void CountOverRate(absl::string_view site);
  // The site kept rounds waiting, and the next do without it.
  void CountBenched(absl::string_view site);
  void CountUpdate(absl::string_view site, UpdateResult result);
  void CountRejection(RejectionReason reason);
  // An update of the site is summed scaled down, or left out.
  void CountBounded(absl::string_view site);
  // An update of the site was accepted this long after the start of its round.
  void ObserveArrival(absl::string_view site, absl::Duration since_start);

  void CountBytes(absl::string_view site, ByteDirection direction, ByteKind kind, uint64_t bytes);
  // Local steps of all members of a committed round.
  void CountSteps(uint64_t steps);
  // Of one committed round: bytes of all kinds per member and local step.
  void ObserveBytesPerStep(ByteDirection direction, double bytes);
  // Adds what fp32 gradients of the same steps would have moved in each direction.
  void CountDenseEquivalent(uint64_t bytes_per_direction);
  // Dense bytes over bytes moved, both directions together, of the run's newest round.
  void SetCompressionRatio(const std::string& run, double ratio);

  void SetLoss(const std::string& run, LossSplit split, double loss);
  // Of the newest evaluation, by name (optim/metric_kind.h; any other is ignored): of the others there is no value.
  void SetValidationMetrics(const std::string& run, const std::map<std::string, double>& metrics);
  void ObserveJournalFsync(double seconds);
  void SetSnapshotTime(absl::Time wall_time);
  // The most that the run may still add to the folder; the page shows the sum of all that are not over.
  void SetDiskForecast(const std::string& run, uint64_t bytes);
  // The coordinator's own certificate. Its series is not there before the first call: without TLS there is none.
  void SetCertificateExpiry(absl::Time wall_time);
  // The certificate with which a site connected last.
  void SetSiteCertificateExpiry(absl::string_view site, absl::Time wall_time);
  void SetCertificateFiles(CertificateFilesState state);

  // One more connection, or one less.
  void ConnectionOpened();
  void ConnectionClosed();
  void CountConnectionRefused(ConnectionRefusal why);
  void CountCallRefused(CallRefusal why);
  void CountHashMismatch();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_METRICS_H_
