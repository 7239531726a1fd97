#include "worker/worker_engine.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "optim/layout.h"
#include "optim/model_spec.h"
#include "optim/options.h"
#include "optim/replica_state.h"
#include "proto/config/run_options.h"
#include "proto/protocol_version.h"
#include "worker/consent.h"

namespace tributary::worker {
namespace {

constexpr absl::Duration kDefaultLease = absl::Seconds(30);
constexpr absl::Duration kMinLease = absl::Milliseconds(100);
constexpr absl::Duration kLookAtClock = absl::Seconds(5);
// For the last message of a session.
constexpr absl::Duration kLeaveTime = absl::Seconds(2);
constexpr absl::Duration kMaxDrain = absl::Minutes(5);
// What the transport carries in one message is 4 MiB; the rest is room for the other fields.
constexpr uint64_t kMaxInlineBytes = 3 << 20;

}  // namespace

WorkerEngine::WorkerEngine(WorkerEngineOptions options)
    : options_(std::move(options)), saved_runs_(options_.saved_runs.begin(), options_.saved_runs.end()) {}

std::vector<Action> WorkerEngine::Handle(Event event, absl::Time now) {
  actions_.clear();
  if (exiting_) return {};
  now_ = std::max(now_, now);
  if (!started_.has_value()) {
    started_ = now_;
    connect_at_ = now_;
  }
  std::visit([this](auto&& what) { On(std::forward<decltype(what)>(what)); }, std::move(event));
  if (!exiting_) CheckTimers();
  if (!exiting_) Advance();
  return std::move(actions_);
}

absl::Time WorkerEngine::NextWakeup() const {
  if (exiting_ || !started_.has_value()) return absl::InfiniteFuture();
  absl::Time wakeup = HeedsQuietHours() ? look_at_clock_at_ : absl::InfiniteFuture();
  if (quiet_) {
    return wakeup;
  }
  if (session_ == 0) {
    wakeup = std::min(wakeup, connect_at_);
  } else if (!welcomed_) {
    wakeup = std::min(wakeup, opened_at_ + options_.welcome_timeout);
  } else {
    wakeup = std::min({wakeup, next_heartbeat_, last_heard_ + 2 * lease_});
    for (const Transfer* transfer : {&download_, &upload_}) {
      if (transfer->id == 0 && transfer->retry_at > now_) wakeup = std::min(wakeup, transfer->retry_at);
    }
  }
  if (!ever_welcomed_) wakeup = std::min(wakeup, *started_ + options_.connect_timeout);
  return wakeup;
}

// --- Session ---

void WorkerEngine::On(event::Tick) {}

void WorkerEngine::On(event::StopRequested stop) {
  if (welcomed_) {
    v1::WorkerMessage message;
    message.mutable_leave()->set_reason(stop.reason);
    SendMessage(std::move(message), stop.reason);
  }
  CancelTransfers();
  Exit(absl::OkStatus(), stop.reason);
}

void WorkerEngine::On(event::MessageArrived arrived) {
  if (arrived.session != session_) return;
  last_heard_ = now_;
  v1::CoordinatorMessage& message = arrived.message;
  if (!welcomed_ && !message.has_welcome()) return;
  switch (message.body_case()) {
    case v1::CoordinatorMessage::kWelcome:
      return OnMessage(message.welcome());
    case v1::CoordinatorMessage::kRunOffer:
      return OnMessage(std::move(*message.mutable_run_offer()));
    case v1::CoordinatorMessage::kSyncPlan:
      return OnMessage(std::move(*message.mutable_sync_plan()));
    case v1::CoordinatorMessage::kRoundStart:
      return OnMessage(std::move(*message.mutable_round_start()));
    case v1::CoordinatorMessage::kReceipt:
      return OnMessage(message.receipt());
    case v1::CoordinatorMessage::kCommit:
      return OnMessage(std::move(*message.mutable_commit()));
    case v1::CoordinatorMessage::kRunEnd:
      return OnMessage(std::move(*message.mutable_run_end()));
    case v1::CoordinatorMessage::kDrain:
      return OnMessage(message.drain());
    case v1::CoordinatorMessage::kHeartbeatAck:
    case v1::CoordinatorMessage::BODY_NOT_SET:  // a message that a newer coordinator knows
      return;
  }
}

void WorkerEngine::On(event::SessionClosed closed) {
  if (closed.session != session_) return;
  LoseSession(closed.status.ok() ? absl::UnavailableError("it closed the session") : closed.status);
}

void WorkerEngine::Connect(absl::string_view reason) {
  session_ = ++last_number_;
  opened_at_ = now_;
  Do(action::OpenSession{session_}, reason);
  v1::WorkerMessage message;
  v1::Hello& hello = *message.mutable_hello();
  hello.set_protocol_version(kProtocolVersion);
  hello.set_software_version(options_.software_version);
  if (run_.has_value()) {
    hello.mutable_held()->set_run_id(run_->offer.run_id());
    if (held_.has_value()) {
      hello.mutable_held()->set_round(held_->round);
      hello.mutable_held()->set_state_hash(held_->hash);
    }
  } else if (!saved_runs_.empty()) {
    // No state of it is held; but if it is over, its end is told, and what is saved can go. One at a time is enough: nothing waits for
    // that, and the next session asks about the next.
    hello.mutable_held()->set_run_id(saved_runs_.front());
  }
  SendMessage(std::move(message), "a session begins with Hello");
}

void WorkerEngine::OnMessage(const v1::Welcome& welcome) {
  if (welcomed_) return;
  welcomed_ = true;
  ever_welcomed_ = true;
  if (!run_.has_value() && !saved_runs_.empty()) {
    saved_runs_.push_back(std::move(saved_runs_.front()));
    saved_runs_.pop_front();
  }
  failed_attempts_ = 0;
  drain_.reset();
  last_cause_.clear();
  lease_ = welcome.lease_ms() == 0 ? kDefaultLease : std::max(absl::Milliseconds(welcome.lease_ms()), kMinLease);
  next_heartbeat_ = now_ + lease_ / 3;
  max_inline_bytes_ = std::min({uint64_t{welcome.max_inline_bytes()}, options_.max_inline_bytes, kMaxInlineBytes});
  Note(LogLevel::kInfo, absl::StrCat("connected to the coordinator at ", options_.coordinator));
}

void WorkerEngine::OnMessage(const v1::Drain& drain) {
  drain_ = std::min(absl::Milliseconds(drain.reconnect_after_ms()), kMaxDrain);
  Note(LogLevel::kInfo,
       absl::StrCat("the coordinator is shutting down; reconnecting ", absl::FormatDuration(*drain_), " after it has closed the session"));
}

void WorkerEngine::ForgetSession() {
  session_ = 0;
  welcomed_ = false;
  // What the session had asked for is asked for again, as it stands then, by the next one. Only the pending update and the replica stay.
  CancelTransfers();
  upload_ = {};
  download_ = {};
  awaiting_plan_ = false;
  sync_.reset();
  commits_.clear();
  fetched_record_.reset();
  report_due_ = false;
  round_start_.reset();
  open_round_ = 0;
  fruitless_resyncs_ = 0;
  pending_sent_ = false;
}

void WorkerEngine::HeedQuietHours() {
  if (!HeedsQuietHours() || now_ < look_at_clock_at_) return;
  look_at_clock_at_ = now_ + kLookAtClock;
  if (leaving_session_ != 0) Do(action::CloseSession{std::exchange(leaving_session_, 0)}, "quiet hours have begun");
  const std::optional<std::string> until = options_.quiet_until();
  if (until.has_value() == quiet_) return;
  quiet_ = until.has_value();
  if (!quiet_) {
    connect_at_ = now_;
    failed_attempts_ = 0;
    if (!ever_welcomed_) started_ = now_;
    return Note(LogLevel::kInfo, "quiet hours are over");
  }
  const std::string reason = absl::StrCat("quiet hours until ", *until);
  Note(LogLevel::kInfo, absl::StrCat(reason, ": this worker takes part in nothing, and keeps what it has"));
  if (welcomed_) {
    v1::WorkerMessage message;
    message.mutable_leave()->set_reason(reason);
    SendMessage(std::move(message), reason);
    // Closed at once, it might not arrive.
    leaving_session_ = session_;
    look_at_clock_at_ = now_ + kLeaveTime;
  } else if (session_ != 0) {
    Do(action::CloseSession{session_}, reason);
  }
  ForgetSession();
}

void WorkerEngine::LoseSession(const absl::Status& status) {
  const bool was_welcomed = welcomed_;
  ForgetSession();

  const std::string at = absl::StrCat("the coordinator at ", options_.coordinator);
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
      return Exit(WithExitCode(Annotate(status, absl::StrCat(at, " refuses this site")), ExitCode::kCredentials),
                  "credentials are refused");
    case absl::StatusCode::kAborted:
      return Exit(WithExitCode(Annotate(status, absl::StrCat(at,
                                                             " has dropped this worker because another one connected as the same site; "
                                                             "run one worker per site")),
                               ExitCode::kUsage),
                  "another worker of this site has connected");
    case absl::StatusCode::kFailedPrecondition:
      if (!was_welcomed) {
        return Exit(WithExitCode(Annotate(status, absl::StrCat(at, " does not accept this worker's version ", options_.software_version,
                                                               "; install the version it runs")),
                                 ExitCode::kUsage),
                    "versions differ");
      }
      break;
    default:
      break;
  }

  if (drain_.has_value()) {
    connect_at_ = now_ + *drain_ + options_.min_backoff * options_.random();
    drain_.reset();
    return;
  }
  connect_at_ = now_ + Backoff(failed_attempts_++);
  std::string cause = absl::StrCat(was_welcomed ? "lost " : "cannot reach ", at, ": ", status.message());
  if (cause != last_cause_) {
    Note(LogLevel::kWarning, absl::StrCat(cause, "; trying again until it answers"));
    last_cause_ = std::move(cause);
  }
}

void WorkerEngine::CheckTimers() {
  HeedQuietHours();
  if (quiet_) return;
  if (!ever_welcomed_ && now_ - *started_ >= options_.connect_timeout) {
    const std::string cause = last_cause_.empty() ? absl::StrCat("no answer from the coordinator at ", options_.coordinator) : last_cause_;
    return Exit(WithExitCode(absl::UnavailableError(absl::StrCat(cause, "; gave up after ", absl::FormatDuration(options_.connect_timeout),
                                                                 ". Check the address and that the coordinator runs")),
                             ExitCode::kUnreachable),
                "the coordinator could not be reached in time");
  }
  absl::string_view silence;
  if (session_ != 0 && !welcomed_ && now_ - opened_at_ >= options_.welcome_timeout) {
    silence = "it does not answer";
  } else if (welcomed_ && now_ - last_heard_ >= 2 * lease_) {
    silence = "nothing was heard from it for twice the lease";
  }
  if (!silence.empty()) {
    Do(action::CloseSession{session_}, silence);
    LoseSession(absl::UnavailableError(silence));
    if (exiting_) return;
  }
  if (session_ == 0 && now_ >= connect_at_) {
    Connect(failed_attempts_ == 0 ? "no session is open" : absl::StrCat("attempt ", failed_attempts_ + 1));
  }
  if (welcomed_ && now_ >= next_heartbeat_) {
    next_heartbeat_ = now_ + lease_ / 3;
    v1::WorkerMessage message;
    message.mutable_heartbeat();
    SendMessage(std::move(message), "a third of the lease has passed");
  }
}

// --- Runs ---

void WorkerEngine::OnMessage(v1::RunOffer offer) {
  if (Mine(offer.run_id())) {
    if (run_->prepared) AnswerAccepted();
    return;
  }
  DropRun();
  const std::string run_id = offer.run_id();
  const std::string label = absl::StrCat("run ", offer.spec().name());

  Run run;
  uint32_t local_steps = 0;
  absl::Status status = ValidateRunSpec(offer.spec());
  if (status.ok()) {
    absl::StatusOr<optim::ModelSpec> model = ModelSpecOf(offer.spec());
    absl::StatusOr<optim::OptimizerOptions> optimizer = OptimizerOptionsOf(offer.spec());
    absl::StatusOr<optim::Layout> layout = model.ok() ? optim::MakeLayout(*model) : model.status();
    if (!layout.ok()) {
      status = layout.status();
    } else if (!optimizer.ok()) {
      status = optimizer.status();
    } else {
      run.parameters = static_cast<uint64_t>(layout->size());
      run.slots = static_cast<uint64_t>(optim::SlotCount(optimizer->mode));
      local_steps = optimizer->local_steps;
    }
  }
  if (!status.ok()) {
    Note(LogLevel::kError, absl::StrCat(label, " is refused: it is not valid: ", status.message()));
    return RefuseRun(run_id, absl::StrCat("the run is not valid: ", status.message()));
  }
  status = CheckConsent(options_.consent, offer.spec(), run.parameters, local_steps);
  if (!status.ok()) {
    Note(LogLevel::kWarning, absl::StrCat(label, " is refused: ", status.message()));
    RefuseRun(run_id, std::string(status.message()));
    if (options_.once) {
      Exit(Annotate(status, absl::StrCat(label, " is refused; change worker.yaml if this site should take part")),
           "consent refuses the run");
    }
    return;
  }
  run.offer = std::move(offer);
  run_ = std::move(run);
  if (!absl::c_linear_search(saved_runs_, run_id)) saved_runs_.push_back(run_id);
  Note(LogLevel::kInfo, absl::StrCat(label, " (", run_id, ") is within this site's consent"));
  Do(action::PrepareRun{StartWork(Work::kPrepare), run_->offer}, "a new run is offered");
}

void WorkerEngine::RefuseRun(const std::string& run_id, const std::string& refusal) {
  v1::WorkerMessage message;
  message.mutable_run_answer()->set_run_id(run_id);
  message.mutable_run_answer()->set_refusal(refusal);
  SendMessage(std::move(message), refusal);
}

void WorkerEngine::AnswerAccepted() {
  v1::WorkerMessage message;
  message.mutable_run_answer()->set_run_id(run_->offer.run_id());
  message.mutable_run_answer()->set_accepted(true);
  SendMessage(std::move(message), "the run is accepted");
  awaiting_plan_ = true;
}

void WorkerEngine::On(event::RunPrepared prepared) {
  if (!TakeWork(prepared.work)) return;
  if (prepared.status.ok()) {
    run_->prepared = true;
    pending_ = std::move(prepared.pending);
    pending_sent_ = false;
    if (welcomed_) AnswerAccepted();
    return;
  }
  const std::string label = absl::StrCat("run ", run_->offer.spec().name());
  const std::string run_id = run_->offer.run_id();
  Note(LogLevel::kError, absl::StrCat(label, " cannot be trained here: ", prepared.status.message()));
  DropRun();
  // The details may name files, and those stay here.
  if (welcomed_) RefuseRun(run_id, "this site cannot train the run; its own log says why");
  // Data or a state folder that cannot be read is for a person to mend, and no other run of this site will fare better.
  if (options_.once || ExitCodeOf(prepared.status) == ExitCode::kData || absl::IsAborted(prepared.status)) {
    Exit(Annotate(prepared.status, absl::StrCat(label, " cannot be trained here")), "the run cannot be prepared");
  }
}

void WorkerEngine::OnMessage(v1::RunEnd end) {
  if (!run_.has_value() && std::erase(saved_runs_, end.run_id()) > 0) {
    Note(LogLevel::kInfo, absl::StrCat("run ", end.run_id(), ", of which this worker had saved its state, is over"));
    return Do(action::ReleaseRun{end.run_id()}, "the run is over");
  }
  if (!Mine(end.run_id())) return;
  run_end_ = std::move(end);
  // A finished run is first brought to its last state here; of a stopped or failed one nothing more is worth doing.
  if (!run_->prepared || run_end_->state() != v1::FINISHED) FinishRun();
}

void WorkerEngine::FinishRun() {
  const v1::RunEnd end = *std::move(run_end_);
  const std::string label = absl::StrCat("run ", run_->offer.spec().name());
  const bool finished = end.state() == v1::FINISHED;
  std::string outcome = absl::StrCat(label,
                                     finished                     ? " finished"
                                     : end.state() == v1::STOPPED ? " was stopped"
                                                                  : " failed",
                                     " at round ", end.round());
  if (!end.reason().empty()) absl::StrAppend(&outcome, ": ", end.reason());
  if (held_.has_value() && held_->round == end.round()) absl::StrAppend(&outcome, "; state ", absl::BytesToHexString(held_->hash));
  Note(finished ? LogLevel::kInfo : LogLevel::kWarning, outcome);
  if (finished && held_.has_value() && (held_->round != end.round() || held_->hash != end.state_hash())) {
    Note(LogLevel::kWarning,
         absl::StrCat(label, ": this worker ended at round ", held_->round, " with state ", absl::BytesToHexString(held_->hash),
                      ", the coordinator at round ", end.round(), " with ", absl::BytesToHexString(end.state_hash())));
  }
  std::erase(saved_runs_, end.run_id());
  DropRun(end.run_id());
  if (!options_.once) return;
  Exit(finished ? absl::OkStatus() : WithExitCode(absl::AbortedError(outcome), ExitCode::kRunFailed), "the run is over");
}

void WorkerEngine::DropRun(std::string over) {
  if (!run_.has_value()) return;
  CancelTransfers();
  upload_ = {};
  download_ = {};
  run_.reset();
  held_.reset();
  closed_round_ = 0;
  pending_.reset();
  computed_ahead_ = 0;
  fruitless_resyncs_ = 0;
  work_ = Work::kNone;  // what is under way belongs to the old run: its result is not awaited any more
  awaiting_plan_ = false;
  sync_.reset();
  commits_.clear();
  fetched_record_.reset();
  report_due_ = false;
  round_start_.reset();
  open_round_ = 0;
  run_end_.reset();
  Do(action::ReleaseRun{std::move(over)}, "the run is over for this worker");
}

// --- What runs next ---

void WorkerEngine::Advance() {
  if (!run_.has_value() || !run_->prepared) return;
  AdvanceUpload();
  if (sync_.has_value()) AdvanceSync();
  if (exiting_ || sync_.has_value() || work_ != Work::kNone) return;
  if (!commits_.empty()) return AdvanceCommits();
  if (report_due_) {
    report_due_ = false;
    return Do(action::Evaluate{StartWork(Work::kEvaluate)}, "the coordinator asked for a report");
  }
  if (run_end_.has_value()) return FinishRun();
  if (round_start_.has_value()) {
    AdvanceRound();
    if (!exiting_) AdvanceUpload();
  }
  if (!exiting_ && work_ == Work::kNone) ComputeAhead();
}

uint64_t WorkerEngine::StartWork(Work kind) {
  work_ = kind;
  work_number_ = ++last_number_;
  return work_number_;
}

bool WorkerEngine::TakeWork(uint64_t work) {
  if (work_ == Work::kNone || work != work_number_) return false;
  work_ = Work::kNone;
  return true;
}

void WorkerEngine::NoteArrived(Transfer& transfer, uint64_t arrived) {
  if (arrived <= transfer.arrived) return;
  transfer.arrived = arrived;
  transfer.moved = true;
  transfer.failures = 0;
}

void WorkerEngine::RetryLater(Transfer& transfer, const absl::Status& status, absl::string_view what) {
  transfer.retry_at = now_ + Backoff(transfer.failures++);
  if (std::exchange(transfer.broke_off, true)) return;
  Note(LogLevel::kWarning, absl::StrCat(what, " broke off: ", status.message(), "; continuing it soon, and whenever this happens again"));
}

void WorkerEngine::CancelTransfers() {
  for (Transfer* transfer : {&download_, &upload_}) {
    if (transfer->id != 0) Do(action::CancelTransfer{transfer->id}, "it is not needed any more");
    transfer->id = 0;
  }
}

absl::Duration WorkerEngine::Backoff(int failures) {
  const absl::Duration full = std::min(options_.max_backoff, options_.min_backoff * std::pow(2.0, std::min(failures, 30)));
  return full * (1.0 - 0.5 * options_.random());
}

void WorkerEngine::Note(LogLevel level, absl::string_view text) {
  Do(action::Note{level}, text);
}

void WorkerEngine::Exit(absl::Status status, absl::string_view reason) {
  exiting_ = true;
  Do(action::Exit{std::move(status)}, reason);
}

void WorkerEngine::SendMessage(v1::WorkerMessage message, absl::string_view reason) {
  if (session_ == 0) return;
  Do(action::Send{session_, std::move(message)}, reason);
}

}  // namespace tributary::worker
