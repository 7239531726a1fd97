// What the worker engine says, made of plain values: messages, bounds, and the texts with which a run or the worker ends.
#ifndef TRIBUTARY_WORKER_ENGINE_MESSAGES_H_
#define TRIBUTARY_WORKER_ENGINE_MESSAGES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "tributary/v1/session.pb.h"
#include "tributary/v1/transfer.pb.h"
#include "worker/worker_engine.h"

namespace tributary::worker {

// `run_id` empty: no run is known; `held` empty: no state of it.
v1::WorkerMessage HelloMessage(const std::string& software_version, const std::string& run_id, const std::optional<ReplicaPosition>& held);
v1::WorkerMessage HeartbeatMessage();
v1::WorkerMessage LeaveMessage(const std::string& reason);
v1::WorkerMessage AcceptanceMessage(const std::string& run_id, const std::string& columns_digest);
v1::WorkerMessage RefusalMessage(const std::string& run_id, const std::string& refusal);
v1::WorkerMessage ReadyMessage(const std::string& run_id, const std::optional<ReplicaPosition>& held);
// Of a round's report, what the coordinator is told. A loss that it is not told is NaN, which all releases leave out of their means; with
// the losses stay the metrics.
enum class Reported { kAll, kWithoutLosses };
v1::WorkerMessage UpdateMessage(const std::string& run_id, const PendingUpdate& pending, Reported reported);
// What the coordinator is told of a round that training gave no update, as Trained says. The details may tell of the data, and those stay
// here.
absl::string_view WhyNoUpdate(const absl::Status& training);
v1::WorkerMessage SkippedMessage(const std::string& run_id, uint64_t round, absl::string_view reason);
// Without an evaluation: it could not be had, or stays here.
v1::WorkerMessage StateReportMessage(const std::string& run_id, const ReplicaPosition& held, const std::optional<Evaluation>& evaluation);
void AddMetrics(const Evaluation& evaluation, google::protobuf::RepeatedPtrField<v1::Metric>& metrics);

// Of an update that is too long for the session.
v1::UploadHeader UploadHeaderOf(const std::string& run_id, const PendingUpdate& pending, Reported reported);
// Commits `first` to `last`.
v1::DownloadRequest RequestForCommits(const std::string& run_id, uint64_t first, uint64_t last);

// What the coordinator can be expected to say of the round after `trained`, which starts from what is held.
v1::RoundStart StartAfter(const v1::RoundStart& trained, const ReplicaPosition& held);

// Calls `visit` with the body, taken out of `message`; not with what calls for no answer, nor with a body that only a newer coordinator
// knows.
template <typename Visit>
void VisitBody(v1::CoordinatorMessage& message, Visit visit) {
  switch (message.body_case()) {
    case v1::CoordinatorMessage::kWelcome:
      return visit(std::move(*message.mutable_welcome()));
    case v1::CoordinatorMessage::kRunOffer:
      return visit(std::move(*message.mutable_run_offer()));
    case v1::CoordinatorMessage::kSyncPlan:
      return visit(std::move(*message.mutable_sync_plan()));
    case v1::CoordinatorMessage::kRoundStart:
      return visit(std::move(*message.mutable_round_start()));
    case v1::CoordinatorMessage::kReceipt:
      return visit(std::move(*message.mutable_receipt()));
    case v1::CoordinatorMessage::kCommit:
      return visit(std::move(*message.mutable_commit()));
    case v1::CoordinatorMessage::kRunEnd:
      return visit(std::move(*message.mutable_run_end()));
    case v1::CoordinatorMessage::kDrain:
      return visit(std::move(*message.mutable_drain()));
    case v1::CoordinatorMessage::kRunRefused:
      return visit(std::move(*message.mutable_run_refused()));
    case v1::CoordinatorMessage::kTreeHead:  // the worker's, beside its engine (tree_heads.h)
    case v1::CoordinatorMessage::kHeartbeatAck:
    case v1::CoordinatorMessage::BODY_NOT_SET:
      return;
  }
}

// What a worker ends with, and why.
struct Ending {
  absl::Status status;
  absl::string_view reason;
};
// FailedPrecondition, exit code kUsage: the coordinator wants to talk in a version that this worker does not speak.
absl::Status CheckVersion(const v1::Welcome& welcome, absl::string_view software_version);
// Of a session that was refused for good by the coordinator at `at`; nothing: it is worth trying again.
std::optional<Ending> EndingAfter(const absl::Status& status, absl::string_view at, absl::string_view software_version);

// Why there is no session with the coordinator at `at`; `what`: "lost" or "cannot reach", unless it was reached and has said no.
std::string CauseText(const absl::Status& status, absl::string_view what, absl::string_view at);

absl::Status UnreachableError(absl::string_view cause, absl::Duration connect_timeout);

// Of a round that does not start from what is held.
std::string OtherBaseText(const v1::RoundStart& start, const std::optional<ReplicaPosition>& held);
// "run NAME finished at round 10: REASON; state HASH", as logs and people are told.
std::string OutcomeText(const std::string& label, const v1::RunEnd& end, const std::optional<ReplicaPosition>& held);
// Of a finished run whose last state is not the one held.
std::string DifferenceText(const std::string& label, const v1::RunEnd& end, const ReplicaPosition& held);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_ENGINE_MESSAGES_H_
