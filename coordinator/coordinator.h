// The coordinator without its network: sessions and calls come in as messages and go out as messages.
//
// Keeps sessions, the queue of runs and operators; what happens in a run is ActiveRun's (coordinator/run/active_run.h).
// coordinator/rpc/ adapts gRPC to this class; tests drive it directly.
#ifndef TRIBUTARY_COORDINATOR_COORDINATOR_H_
#define TRIBUTARY_COORDINATOR_COORDINATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/byte_kind.h"
#include "common/clock.h"
#include "common/file_store.h"
#include "common/memory_limits.h"
#include "common/stored_bytes.h"
#include "coordinator/journal/journal.h"
#include "coordinator/run/operator_act.h"
#include "coordinator/run/submission.h"
#include "coordinator/run/upload_place.h"
#include "coordinator/session_holder.h"
#include "coordinator/site_standing.h"
#include "proto/audit/signed_update.h"
#include "tributary/v1/admin.pb.h"
#include "tributary/v1/config.pb.h"
#include "tributary/v1/session.pb.h"
#include "tributary/v1/transfer.pb.h"

namespace tributary::coordinator {

class CoordinatorMetrics;  // coordinator/metrics.h
class HeadPublisher;       // coordinator/audit/head_publisher.h
class SiteRegistry;        // coordinator/site_registry.h

// How the coordinator reaches one site. Implemented by the session reactor; used on the executor only. Send and Close return at once.
class SessionSink {
 public:
  virtual ~SessionSink() = default;
  // `message` is shared by all streams of a broadcast and must not change.
  virtual void Send(std::shared_ptr<const v1::CoordinatorMessage> message) = 0;
  // Ends the stream with this status. The sink is not used afterwards.
  virtual void Close(const absl::Status& status) = 0;
};

// Not thread-safe: every method runs on the coordinator's serial executor. No method blocks on the network; journal writes block on the
// disk.
class Coordinator {
 public:
  struct Dependencies {
    Clock* clock = nullptr;
    const SiteRegistry* sites = nullptr;
    Journal* journal = nullptr;
    FileStore* snapshots = nullptr;         // what is in it and not in the journal is removed
    CoordinatorMetrics* metrics = nullptr;  // null: nobody reads them
    HeadPublisher* heads = nullptr;         // of the audit log; null: nobody is told of it
    // What a run may take, asked before one is submitted or taken up. Empty or an error: nobody knows, and nothing is refused for it.
    std::function<absl::StatusOr<MemoryLimits>()> memory;
    // Runs work on this same executor after a delay.
    std::function<void(absl::Duration, std::function<void()>)> post_after;
    // A storage error after which nothing more can be promised: the process must stop with this status.
    std::function<void(const absl::Status&)> fatal;
  };

  // Recovers everything the journal holds: of every run in progress it replays the commits on its newest snapshot, adds the accepted
  // updates of the round in flight, and is ready to continue it. DataLoss, exit code kDamaged: journal or snapshot damaged, with what to
  // do. FailedPrecondition, exit code kMemory: a run in progress does not fit into memory any more.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Create(const v1::CoordinatorConfig& config, Dependencies dependencies);
  virtual ~Coordinator() = default;

  // Sessions. The caller has authenticated `site` and found it in the registry.

  // A site has one session. While it has one, the worker that has it may replace it, known by its secret; anybody else is closed with
  // ALREADY_EXISTS, which is an alarm, and needs no SessionClosed. `session` outlives the matching SessionClosed.
  virtual void SessionOpened(const std::string& site, SessionSink* session, const SessionOrigin& origin) = 0;
  // `encoded_bytes`: wire size of the message with framing, for the counters. `proof`: of an Update's signature, which was checked before.
  virtual void MessageReceived(const std::string& site, SessionSink* session, v1::WorkerMessage message, uint64_t encoded_bytes,
                               UpdateProof proof = {}) = 0;
  virtual void SessionClosed(const std::string& site, SessionSink* session) = 0;
  // Bytes the transport moved for this site outside MessageReceived (what it sent on a session, uploads, downloads).
  virtual void CountBytes(const std::string& site, ByteDirection direction, ByteKind kind, uint64_t bytes) = 0;

  // Bulk, whose bytes travel outside sessions.

  // AlreadyExists: the site's session is another worker's, so that nothing may be taken from this one, nor given to it.
  virtual absl::Status CheckWorker(const std::string& site, const std::string& worker_secret) = 0;
  // FailedPrecondition: the round is not open for this site. AlreadyExists: another update of it was accepted, which is an alarm.
  // ResourceExhausted: longer than the model can need. InvalidArgument: not signed as it must be. `proof`: of the header's signature.
  virtual absl::StatusOr<std::unique_ptr<UploadPlace>> CheckUpload(const std::string& site, const v1::UploadHeader& header,
                                                                   const UpdateProof& proof = {}) = 0;
  // The whole payload, checksums verified. Handled as if it had come inside an Update.
  virtual absl::Status UploadCompleted(const std::string& site, const v1::UploadHeader& header, UploadedPayload payload) = 0;
  // Shared by all who fetch the same thing. `site`: who asks; nullopt: an operator. PermissionDenied: the run does not take this site.
  // FailedPrecondition: the run has not begun, and no site was offered it; state_at_round of another round than the best, which is for
  // operators alone. Files are opened and not read: that is for DigestOfDownload.
  virtual absl::StatusOr<SharedBytes> OpenDownload(const v1::DownloadRequest& request, const std::optional<std::string>& site) = 0;
  // The SHA-256 of what OpenDownload gave; it reads all of it. DataLoss, exit code kDamaged: it is not whole. Thread-safe.
  virtual absl::StatusOr<Digest> DigestOfDownload(const v1::DownloadRequest& request, const StoredBytes& bytes) const = 0;

  // Operators. Acts are durable before they are answered, and journaled with the name of who did them. NotFound: no such run.
  // FailedPrecondition: it is over, or not in a state for this. Unavailable: shutting down, or the journal has failed. Exit code kStorage:
  // the journal could not be written. Of a submission, InvalidArgument: not a run that this federation can do; AlreadyExists: a live run
  // has that name; FailedPrecondition, exit code kMemory: it does not fit into memory, and both figures are named.
  absl::StatusOr<v1::RunStatus> SubmitRun(const v1::RunSpec& spec, const std::string& operator_name);
  // The same in three steps, so that rounds go on meanwhile: the second, Submission::Prepare, is for another thread. One at a time, or the
  // memory that each needs is promised twice.
  virtual absl::StatusOr<std::shared_ptr<Submission>> BeginSubmission(const v1::RunSpec& spec, const std::string& operator_name) = 0;
  // Of a submission of BeginSubmission that is prepared.
  virtual absl::StatusOr<v1::RunStatus> EndSubmission(Submission& submission, const std::string& operator_name) = 0;
  virtual v1::ListRunsResponse ListRuns() = 0;
  virtual absl::StatusOr<v1::RunStatus> GetRun(const std::string& run) = 0;
  virtual absl::StatusOr<v1::RunHistory> GetRunHistory(const std::string& run) = 0;
  virtual absl::StatusOr<v1::RunStatus> StopRun(const std::string& run, const OperatorAct& act) = 0;
  // A paused run stays paused over restarts.
  virtual absl::StatusOr<v1::RunStatus> PauseRun(const std::string& run, const OperatorAct& act) = 0;
  virtual absl::StatusOr<v1::RunStatus> ResumeRun(const std::string& run, const OperatorAct& act) = 0;
  // Lets a site take part again that the run has quarantined for its updates. NotFound besides: the run knows no such site.
  virtual absl::StatusOr<v1::RunStatus> ReadmitSite(const std::string& run, const std::string& site, const OperatorAct& act) = 0;
  // `rounds` in all; one that has finished is queued again, at its old place. Its sites are asked for their consent again. Errors besides:
  // of Extended (run/extended_run.h); AlreadyExists: a live run has its name; FailedPrecondition: its last state is not kept any more;
  // ResourceExhausted: the disk is too small for one more round.
  virtual absl::StatusOr<v1::RunStatus> ExtendRun(const std::string& run, uint64_t rounds, const OperatorAct& act) = 0;
  // Called after every change of any run's status, with the run's id; at most one observer.
  virtual void SetRunObserver(std::function<void(const std::string& run_id)> observer) = 0;
  virtual v1::ServerInfo GetServerInfo() = 0;
  // Those on the list, in the order of their names.
  virtual std::vector<SiteStanding> GetSites() = 0;

  // SIGTERM: starts no further round, finishes the one in flight (bounded by config.drain_timeout), tells sessions when to reconnect, then
  // calls `done`. The journal is at a safe point at every moment anyway.
  virtual void Drain(std::function<void()> done) = 0;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_COORDINATOR_H_
