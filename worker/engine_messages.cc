#include "worker/engine_messages.h"

#include <limits>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "proto/config/capabilities.h"
#include "proto/protocol_version.h"

namespace tributary::worker {
namespace {

std::string Hex(absl::string_view bytes) {
  return bytes.empty() ? "none" : absl::BytesToHexString(bytes.substr(0, 8));
}

v1::UpdateReport ReportOf(const PendingUpdate& pending, Reported reported) {
  v1::UpdateReport report = pending.update.report;
  if (reported == Reported::kWithoutLosses) {
    report.set_train_loss(std::numeric_limits<float>::quiet_NaN());
    report.clear_val_loss();
    report.clear_metrics();
  }
  return report;
}

}  // namespace

v1::WorkerMessage HelloMessage(const std::string& software_version, const std::string& run_id, const std::optional<ReplicaPosition>& held) {
  v1::WorkerMessage message;
  v1::Hello& hello = *message.mutable_hello();
  hello.set_protocol_version(kOldestProtocolVersion);
  hello.set_newest_protocol_version(kNewestProtocolVersion);
  for (const std::string& word : OwnCapabilities()) {
    hello.add_capabilities(word);
  }
  hello.set_software_version(software_version);
  if (!run_id.empty()) {
    hello.mutable_held()->set_run_id(run_id);
    if (held.has_value()) {
      hello.mutable_held()->set_round(held->round);
      hello.mutable_held()->set_state_hash(held->hash);
    }
  }
  return message;
}

v1::WorkerMessage HeartbeatMessage() {
  v1::WorkerMessage message;
  message.mutable_heartbeat();
  return message;
}

v1::WorkerMessage LeaveMessage(const std::string& reason) {
  v1::WorkerMessage message;
  message.mutable_leave()->set_reason(reason);
  return message;
}

v1::WorkerMessage AcceptanceMessage(const std::string& run_id, const std::string& columns_digest) {
  v1::WorkerMessage message;
  message.mutable_run_answer()->set_run_id(run_id);
  message.mutable_run_answer()->set_accepted(true);
  message.mutable_run_answer()->set_columns_digest(columns_digest);
  return message;
}

v1::WorkerMessage RefusalMessage(const std::string& run_id, const std::string& refusal) {
  v1::WorkerMessage message;
  message.mutable_run_answer()->set_run_id(run_id);
  message.mutable_run_answer()->set_refusal(refusal);
  return message;
}

v1::WorkerMessage ReadyMessage(const std::string& run_id, const std::optional<ReplicaPosition>& held) {
  v1::WorkerMessage message;
  message.mutable_ready()->set_run_id(run_id);
  if (held.has_value()) {
    message.mutable_ready()->set_round(held->round);
    message.mutable_ready()->set_state_hash(held->hash);
  }
  return message;
}

v1::WorkerMessage UpdateMessage(const std::string& run_id, const PendingUpdate& pending, Reported reported) {
  v1::WorkerMessage message;
  v1::Update& update = *message.mutable_update();
  update.set_run_id(run_id);
  update.set_round(pending.round);
  update.set_base_state_hash(pending.base_hash);
  update.set_payload(*pending.update.payload);
  *update.mutable_report() = ReportOf(pending, reported);
  return message;
}

absl::string_view WhyNoUpdate(const absl::Status& training) {
  switch (training.code()) {
    case absl::StatusCode::kFailedPrecondition:
      return "the loss or the gradient is not finite, or too large to send";
    case absl::StatusCode::kAlreadyExists:
      return "the worker was restarted, and the update that it had sent cannot be made again";
    case absl::StatusCode::kCancelled:
      return "the site's program skipped the round";
    default:
      return "training failed; the site's own log says why";
  }
}

v1::WorkerMessage SkippedMessage(const std::string& run_id, uint64_t round, absl::string_view reason) {
  v1::WorkerMessage message;
  message.mutable_update_skipped()->set_run_id(run_id);
  message.mutable_update_skipped()->set_round(round);
  message.mutable_update_skipped()->set_reason(std::string(reason));
  return message;
}

void AddMetrics(const Evaluation& evaluation, google::protobuf::RepeatedPtrField<v1::Metric>& metrics) {
  for (const auto& [name, value] : evaluation.metrics) {
    v1::Metric& metric = *metrics.Add();
    metric.set_name(name);
    metric.set_value(value);
  }
}

v1::WorkerMessage StateReportMessage(const std::string& run_id, const ReplicaPosition& held, const std::optional<Evaluation>& evaluation) {
  v1::WorkerMessage message;
  v1::StateReport& report = *message.mutable_state_report();
  report.set_run_id(run_id);
  report.set_round(held.round);
  report.set_state_hash(held.hash);
  if (evaluation.has_value()) {
    report.set_val_loss(static_cast<float>(evaluation->loss));
    AddMetrics(*evaluation, *report.mutable_metrics());
  }
  return message;
}

v1::UploadHeader UploadHeaderOf(const std::string& run_id, const PendingUpdate& pending, Reported reported) {
  v1::UploadHeader header;
  header.mutable_id()->set_run_id(run_id);
  header.mutable_id()->set_round(pending.round);
  header.mutable_id()->set_sha256(pending.update.sha256);
  header.set_total_bytes(pending.update.payload->size());
  header.set_base_state_hash(pending.base_hash);
  *header.mutable_report() = ReportOf(pending, reported);
  return header;
}

v1::DownloadRequest RequestForCommits(const std::string& run_id, uint64_t first, uint64_t last) {
  v1::DownloadRequest request;
  request.set_run_id(run_id);
  request.mutable_commits()->set_first(first);
  request.mutable_commits()->set_last(last);
  return request;
}

v1::RoundStart StartAfter(const v1::RoundStart& trained, const ReplicaPosition& held) {
  v1::RoundStart start;
  start.set_run_id(trained.run_id());
  start.set_round(trained.round() + 1);
  start.set_learning_rate(trained.next_learning_rate());
  start.set_local_steps(trained.next_local_steps());
  start.set_base_round(held.round);
  start.set_base_state_hash(held.hash);
  return start;
}

absl::Status CheckVersion(const v1::Welcome& welcome, absl::string_view software_version) {
  // A coordinator that knew one version did not say which: it was the first.
  const uint32_t version = welcome.protocol_version() == 0 ? 1 : welcome.protocol_version();
  const ProtocolSpeaker here = {absl::StrCat("this worker (", software_version, ")")};
  const ProtocolSpeaker there = {absl::StrCat("the coordinator (", welcome.software_version(), ")"), version, version};
  return WithExitCode(NegotiateProtocol(here, there).status(), ExitCode::kUsage);
}

std::optional<Ending> EndingAfter(const absl::Status& status, absl::string_view at, absl::string_view software_version) {
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return Ending{WithExitCode(Annotate(status, absl::StrCat("no session with ", at)), ExitCode::kCredentials),
                    "credentials are refused"};
    case absl::StatusCode::kFailedPrecondition:
      return Ending{
          WithExitCode(Annotate(status, absl::StrCat(at, " does not accept this worker's version ", software_version)), ExitCode::kUsage),
          "versions differ"};
    default:
      return std::nullopt;
  }
}

std::string CauseText(const absl::Status& status, absl::string_view what, absl::string_view at) {
  return absl::IsAlreadyExists(status) ? absl::StrCat(at, " does not let this worker in: ", status.message())
                                       : absl::StrCat(what, " ", at, ": ", status.message());
}

absl::Status UnreachableError(absl::string_view cause, absl::Duration connect_timeout) {
  return WithExitCode(absl::UnavailableError(absl::StrCat(cause, "; gave up after ", absl::FormatDuration(connect_timeout),
                                                          ". Check the address, and that the coordinator is running")),
                      ExitCode::kUnreachable);
}

std::string OtherBaseText(const v1::RoundStart& start, const std::optional<ReplicaPosition>& held) {
  return absl::StrCat("round ", start.round(), " starts from state ", Hex(start.base_state_hash()), " of round ", start.base_round(),
                      ", but this worker holds ", held.has_value() ? absl::StrCat(Hex(held->hash), " of round ", held->round) : "nothing");
}

std::string OutcomeText(const std::string& label, const v1::RunEnd& end, const std::optional<ReplicaPosition>& held) {
  const char* how = " failed";
  if (end.state() == v1::FINISHED) {
    how = " finished";
  } else if (end.state() == v1::STOPPED) {
    how = " was stopped";
  }
  std::string outcome = absl::StrCat(label, how, " at round ", end.round());
  if (!end.reason().empty()) {
    absl::StrAppend(&outcome, ": ", end.reason());
  }
  if (held.has_value() && held->round == end.round()) {
    absl::StrAppend(&outcome, "; state ", absl::BytesToHexString(held->hash));
  }
  return outcome;
}

std::string DifferenceText(const std::string& label, const v1::RunEnd& end, const ReplicaPosition& held) {
  return absl::StrCat(label, ": this worker ended at round ", held.round, " with state ", absl::BytesToHexString(held.hash),
                      ", the coordinator at round ", end.round(), " with ", absl::BytesToHexString(end.state_hash()));
}

}  // namespace tributary::worker
