#include "worker/worker_engine.h"

#include <algorithm>
#include <cmath>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/assert.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "worker/disclosure.h"
#include "worker/engine_messages.h"
#include "worker/refusal.h"
#include "worker/run_bounds.h"

namespace tributary::worker {
namespace {

constexpr absl::Duration kDefaultLease = absl::Seconds(30);
constexpr absl::Duration kMinLease = absl::Milliseconds(100);
constexpr absl::Duration kLookAtClock = absl::Seconds(5);
constexpr absl::Duration kLeaveTime = absl::Seconds(2);  // for the last message of a session
constexpr ptrdiff_t kMostSavedRuns = 64;                 // that are asked about
constexpr absl::Duration kMaxDrain = absl::Minutes(5);
constexpr int kTakenOver = 30;  // failed attempts it counts as: workers with copies of one state folder are not to take turns at once

}  // namespace

WorkerEngine::WorkerEngine(WorkerEngineOptions options)
    : options_(std::move(options)), consent_(options_.consent), saved_runs_(options_.saved_runs.begin(), options_.saved_runs.end()) {
  TRIBUTARY_ASSERT(options_.random != nullptr);
}

std::vector<Action> WorkerEngine::Handle(Event event, absl::Time now) {
  actions_.clear();
  if (exiting_) {
    return {};
  }
  now_ = std::max(now_, now);
  if (!connecting_.since.has_value()) {
    connecting_.since = now_;
    connecting_.next_at = now_;
  }
  std::visit([this](auto&& what) { On(std::forward<decltype(what)>(what)); }, std::move(event));
  if (!exiting_) {
    CheckTimers();
  }
  if (!exiting_) {
    Advance();
  }
  CheckInvariants();
  return std::move(actions_);
}

const std::optional<ReplicaPosition>& WorkerEngine::held() const {
  static const std::optional<ReplicaPosition> kNothing;
  return run_.has_value() ? run_->held : kNothing;
}

void WorkerEngine::CheckInvariants() const {
  TRIBUTARY_ASSERT(!exiting_ || std::holds_alternative<action::Exit>(actions_.back().what), "an action follows Exit");

  TRIBUTARY_ASSERT(!session_.welcomed || session_.number != 0, "no session, and it was welcomed");
  TRIBUTARY_ASSERT(!quiet_.now || session_.number == 0, "session ", session_.number, " is open in quiet hours");
  TRIBUTARY_ASSERT(quiet_.now || quiet_.leaving_session == 0, "session ", quiet_.leaving_session, " was left for no quiet hours");

  // What is asked and moved is of one session and one run.
  const bool takes_part = session_.welcomed && run_.has_value() && run_->prepared;
  TRIBUTARY_ASSERT(takes_part || !(asked_.plan_awaited || asked_.sync.has_value() || !asked_.commits.empty() || asked_.report_due ||
                                   asked_.round_start.has_value() || asked_.open_round != 0),
                   "something is asked of a worker that takes part in no run");
  TRIBUTARY_ASSERT(takes_part || (transfers_.download.id == 0 && transfers_.upload.id == 0 && !transfers_.update_sent), "transfers ",
                   transfers_.download.id, " and ", transfers_.upload.id, " are of no run");
  TRIBUTARY_ASSERT(!asked_.fetched_record.has_value() || !asked_.commits.empty(), "a record was fetched for no commit");
  if (!run_.has_value()) {
    return;
  }

  TRIBUTARY_ASSERT(run_->prepared != Working(WorkKind::kPrepare), "prepared: ", run_->prepared);
  TRIBUTARY_ASSERT(Idle() || (run_->work.number != 0 && run_->work.number <= last_number_), "work ", run_->work.number);
  const bool pending = run_->pending.has_value();
  TRIBUTARY_ASSERT(!pending || run_->pending->round > run_->closed_round, "round ", run_->pending->round, " is closed, round ",
                   run_->closed_round, " too, and its update is pending");
  TRIBUTARY_ASSERT(!pending || !Working(WorkKind::kTrain), "an update is made while that of round ", run_->pending->round, " is pending");
  TRIBUTARY_ASSERT(pending || (transfers_.upload.id == 0 && !transfers_.update_sent), "an update that is not there is sent");
  TRIBUTARY_ASSERT(transfers_.upload.id == 0 || !transfers_.update_sent, "an update is sent twice");
}

absl::Time WorkerEngine::NextWakeup() const {
  if (exiting_ || !connecting_.since.has_value()) {
    return absl::InfiniteFuture();
  }
  absl::Time wakeup = HeedsQuietHours() ? quiet_.look_at_clock_at : absl::InfiniteFuture();
  if (quiet_.now) {
    return wakeup;
  }
  if (session_.number == 0) {
    wakeup = std::min(wakeup, connecting_.next_at);
  } else if (!session_.welcomed) {
    wakeup = std::min(wakeup, session_.opened_at + options_.welcome_timeout);
  } else {
    wakeup = std::min({wakeup, session_.next_heartbeat, session_.last_heard + 2 * session_.lease});
    for (const TransferAttempts* transfer : {&transfers_.download, &transfers_.upload}) {
      if (transfer->id == 0 && transfer->retry_at > now_) {
        wakeup = std::min(wakeup, transfer->retry_at);
      }
    }
  }
  if (!connecting_.ever_welcomed) {
    wakeup = std::min(wakeup, *connecting_.since + options_.connect_timeout);
  }
  return wakeup;
}

void WorkerEngine::On(event::StopRequested stop) {
  if (session_.welcomed) {
    SendMessage(LeaveMessage(stop.reason), stop.reason);
  }
  CancelTransfers();
  Exit(std::move(stop.status), stop.reason);
}

void WorkerEngine::On(event::MessageArrived arrived) {
  if (arrived.session != session_.number) {
    return;
  }
  session_.last_heard = now_;
  v1::CoordinatorMessage& message = arrived.message;
  if (session_.welcomed == message.has_welcome()) {  // Welcome is the first message, and no other
    return;
  }
  if (const absl::Status beyond = run_.has_value() ? CheckMessage(message, &run_->offer, run_->size) : CheckMessage(message, nullptr, {});
      !beyond.ok()) {
    Do(action::CloseSession{session_.number}, beyond.message());
    return LoseSession(beyond);
  }
  VisitBody(message, [this](auto body) { OnMessage(std::move(body)); });
}

void WorkerEngine::On(event::SessionClosed closed) {
  if (closed.session != session_.number) {
    return;
  }
  LoseSession(closed.status.ok() ? absl::UnavailableError("it closed the session") : closed.status);
}

void WorkerEngine::Connect(absl::string_view reason) {
  session_ = {};
  session_.number = ++last_number_;
  session_.opened_at = now_;
  Do(action::OpenSession{session_.number}, reason);
  std::string run_id;
  if (run_.has_value()) {
    run_id = run_->offer.run_id();
  } else if (!saved_runs_.empty()) {
    // No state of it is held; but if it is over, its end is told, and what is saved can go. One at a time is enough: nothing waits for it.
    run_id = saved_runs_.front();
  }
  SendMessage(HelloMessage(options_.software_version, run_id, held()), "a session begins with Hello");
}

void WorkerEngine::OnMessage(const v1::Welcome& welcome) {
  if (absl::Status spoken = CheckVersion(welcome, options_.software_version); !spoken.ok()) {
    return Exit(std::move(spoken), "versions differ");
  }
  session_.welcomed = true;
  connecting_.ever_welcomed = true;
  if (!run_.has_value() && !saved_runs_.empty()) {
    saved_runs_.push_back(std::move(saved_runs_.front()));
    saved_runs_.pop_front();
  }
  connecting_.failed_attempts = 0;
  connecting_.last_cause.clear();
  session_.lease = welcome.lease_ms() == 0 ? kDefaultLease : std::max(absl::Milliseconds(welcome.lease_ms()), kMinLease);
  session_.next_heartbeat = now_ + session_.lease / 3;
  session_.max_inline_bytes = std::min({uint64_t{welcome.max_inline_bytes()}, options_.max_inline_bytes, kMaxInlineBytes});
  connecting_.told.Forget();
  NoteConnection(LogLevel::kInfo, absl::StrCat("connected to the coordinator at ", options_.coordinator));
}

void WorkerEngine::OnMessage(const v1::Drain& drain) {
  session_.drain = std::min(absl::Milliseconds(drain.reconnect_after_ms()), kMaxDrain);
  Note(LogLevel::kInfo, absl::StrCat("the coordinator is shutting down; reconnecting ", absl::FormatDuration(*session_.drain),
                                     " after it has closed the session"));
}

void WorkerEngine::ForgetSession() {
  // Only the pending update and the replica stay.
  ForgetAsked();
  session_ = {};
}

void WorkerEngine::ForgetAsked() {
  CancelTransfers();
  asked_ = {};
  transfers_ = {};
}

void WorkerEngine::HeedQuietHours() {
  if (!HeedsQuietHours() || now_ < quiet_.look_at_clock_at) {
    return;
  }
  quiet_.look_at_clock_at = now_ + kLookAtClock;
  if (quiet_.leaving_session != 0) {
    Do(action::CloseSession{std::exchange(quiet_.leaving_session, 0)}, "quiet hours have begun");
  }
  const std::optional<std::string> until = options_.quiet_until();
  if (until.has_value() == quiet_.now) {
    return;
  }
  quiet_.now = until.has_value();
  if (!quiet_.now) {
    connecting_.next_at = now_;
    connecting_.failed_attempts = 0;
    if (!connecting_.ever_welcomed) {
      connecting_.since = now_;
    }
    return Note(LogLevel::kInfo, "quiet hours are over");
  }
  const std::string reason = absl::StrCat("quiet hours until ", *until);
  Note(LogLevel::kInfo, absl::StrCat(reason, ": this worker rests, and keeps what it has"));
  if (session_.welcomed) {
    SendMessage(LeaveMessage(reason), reason);
    // Closed at once, it might not arrive.
    quiet_.leaving_session = session_.number;
    quiet_.look_at_clock_at = now_ + kLeaveTime;
  } else if (session_.number != 0) {
    Do(action::CloseSession{session_.number}, reason);
  }
  ForgetSession();
}

void WorkerEngine::LoseSession(const absl::Status& status) {
  const bool was_welcomed = session_.welcomed;
  const std::optional<absl::Duration> drain = session_.drain;
  ForgetSession();

  const std::string at = absl::StrCat("the coordinator at ", options_.coordinator);
  // Of a session that was welcomed, a failed precondition says nothing about versions. Credentials that were good once are good: what
  // stands between (a proxy, the network's login page), a rotation or a list being edited may say otherwise for a moment.
  const bool may_pass =
      (was_welcomed && absl::IsFailedPrecondition(status)) || (connecting_.ever_welcomed && ExitCodeOf(status) == ExitCode::kCredentials);
  if (!may_pass) {
    if (std::optional<Ending> ending = EndingAfter(status, at, options_.software_version); ending.has_value()) {
      return Exit(std::move(ending->status), ending->reason);
    }
  }
  if (drain.has_value()) {
    connecting_.next_at = now_ + *drain + options_.min_backoff * options_.random();
    return;
  }
  connecting_.next_at = now_ + Backoff(absl::IsAborted(status) ? kTakenOver : connecting_.failed_attempts++);
  std::string cause = CauseText(status, was_welcomed ? "lost" : "cannot reach", at);
  NoteConnection(LogLevel::kWarning, absl::StrCat(cause, "; trying again until it answers"));
  connecting_.last_cause = std::move(cause);
}

void WorkerEngine::CheckTimers() {
  HeedQuietHours();
  if (quiet_.now) {
    return;
  }
  if (!connecting_.ever_welcomed && now_ - *connecting_.since >= options_.connect_timeout) {
    const std::string cause =
        connecting_.last_cause.empty() ? absl::StrCat("no answer from the coordinator at ", options_.coordinator) : connecting_.last_cause;
    return Exit(UnreachableError(cause, options_.connect_timeout), "the coordinator could not be reached in time");
  }
  absl::string_view silence;
  if (session_.number != 0 && !session_.welcomed && now_ - session_.opened_at >= options_.welcome_timeout) {
    silence = "it does not answer";
  } else if (session_.welcomed && now_ - session_.last_heard >= 2 * session_.lease) {
    silence = "nothing was heard from it for twice the lease";
  }
  if (!silence.empty()) {
    Do(action::CloseSession{session_.number}, silence);
    LoseSession(absl::UnavailableError(silence));
    if (exiting_) {
      return;
    }
  }
  if (session_.number == 0 && now_ >= connecting_.next_at) {
    Connect(connecting_.failed_attempts == 0 ? "no session is open" : absl::StrCat("attempt ", connecting_.failed_attempts + 1));
  }
  if (session_.welcomed && now_ >= session_.next_heartbeat) {
    session_.next_heartbeat = now_ + session_.lease / 3;
    SendMessage(HeartbeatMessage(), "a third of the lease has passed");
  }
}

void WorkerEngine::OnMessage(v1::RunOffer offer) {
  if (Mine(offer.run_id()) && CheckConsent(consent_, offer.spec(), run_->size).ok()) {
    run_->offer = std::move(offer);  // which may have more rounds now
    if (run_->prepared) {
      AnswerAccepted();
    }
    return;
  }
  DropRun();
  const absl::StatusOr<RunSize> size = Agree(consent_, offer.spec());
  if (!size.ok()) {
    return RefuseOffer(offer, size.status());
  }
  Run run;
  run.offer = std::move(offer);
  run.size = *size;
  run_ = std::move(run);
  const std::string& run_id = run_->offer.run_id();
  if (!absl::c_linear_search(saved_runs_, run_id)) {
    saved_runs_.push_back(run_id);
    saved_runs_.erase(saved_runs_.begin(), saved_runs_.end() - std::min(std::ssize(saved_runs_), kMostSavedRuns));
  }
  Note(LogLevel::kInfo, ConsentText(run_->offer, options_.withhold_losses ? Reported::kWithoutLosses : Reported::kAll));
  Do(action::PrepareRun{StartWork({.kind = WorkKind::kPrepare}), run_->offer}, "a new run is offered");
}

void WorkerEngine::RefuseOffer(const v1::RunOffer& offer, const absl::Status& status) {
  const std::string label = absl::StrCat("run ", offer.spec().name());
  const bool is_valid = !absl::IsInvalidArgument(status);
  Note(is_valid ? LogLevel::kWarning : LogLevel::kError, absl::StrCat(label, " is refused: ", status.message()));
  if (session_.welcomed) {
    SendMessage(RefusalMessage(offer.run_id(), std::string(status.message())), status.message());
  }
  if (is_valid && options_.once) {
    Exit(Annotate(status, absl::StrCat(label, " is refused; to take part, change the consent in worker.yaml")), "consent refuses the run");
  }
}

void WorkerEngine::On(event::ConsentChanged changed) {
  consent_ = std::move(changed.consent);
  if (!run_.has_value()) {
    if (session_.welcomed) {
      // In a new session, a run that was refused is offered again.
      Do(action::CloseSession{session_.number}, "the consent has changed");
      ForgetSession();
      connecting_.next_at = now_;
    }
  } else if (const absl::Status status = CheckConsent(consent_, run_->offer.spec(), run_->size); !status.ok()) {
    const v1::RunOffer offer = run_->offer;
    DropRun();
    RefuseOffer(offer, status);
  }
}

void WorkerEngine::AnswerAccepted() {
  SendMessage(AcceptanceMessage(run_->offer.run_id(), run_->columns_digest), "the run is accepted");
  asked_.plan_awaited = true;
}

void WorkerEngine::On(event::RunPrepared prepared) {
  if (!TakeWork(WorkKind::kPrepare, prepared.work).has_value()) {
    return;
  }
  if (prepared.status.ok()) {
    run_->prepared = true;
    run_->pending = std::move(prepared.pending);
    run_->columns_digest = std::move(prepared.columns_digest);
    if (session_.welcomed) {
      AnswerAccepted();
    }
    return;
  }
  if (session_.welcomed) {
    SendMessage(RefusalMessage(run_->offer.run_id(), RefusalOf(prepared.status)), "the run cannot be trained here");
  }
  GiveUpRun(prepared.status);
}

void WorkerEngine::GiveUpRun(const absl::Status& why) {
  Note(LogLevel::kError, absl::StrCat("run ", run_->offer.spec().name(), " cannot be trained here: ", why.message()));
  DropRun();
  // A state folder that cannot be read needs a person: no other run will fare better. What does not fit this run may fit the next.
  if (options_.once || absl::IsAborted(why)) {
    Exit(Annotate(why, "the run cannot be trained here"), "the run cannot be trained here");
  }
}

void WorkerEngine::OnMessage(v1::RunEnd end) {
  if (!run_.has_value() && std::erase(saved_runs_, end.run_id()) > 0) {
    Note(LogLevel::kInfo, absl::StrCat("run ", end.run_id(), " is over; removing the state saved for it"));
    return Do(action::ReleaseRun{end.run_id()}, "the run is over");
  }
  if (!Mine(end.run_id())) {
    return;
  }
  run_->end = std::move(end);
  // A finished run is first brought to its last state here; of a stopped or failed one nothing more is worth doing.
  if (!run_->prepared || run_->end->state() != v1::FINISHED) {
    FinishRun();
  }
}

void WorkerEngine::FinishRun() {
  const v1::RunEnd end = *std::move(run_->end);
  const std::string label = absl::StrCat("run ", run_->offer.spec().name());
  const bool finished = end.state() == v1::FINISHED;
  const std::string outcome = OutcomeText(label, end, run_->held);
  Note(finished ? LogLevel::kInfo : LogLevel::kWarning, outcome);
  if (finished && run_->held.has_value() && (run_->held->round != end.round() || run_->held->hash != end.state_hash())) {
    Note(LogLevel::kWarning, DifferenceText(label, end, *run_->held));
  }
  std::erase(saved_runs_, end.run_id());
  DropRun(end.run_id());
  if (options_.once) {
    Exit(finished ? absl::OkStatus() : WithExitCode(absl::AbortedError(outcome), ExitCode::kRunFailed), "the run is over");
  }
}

void WorkerEngine::DropRun(std::string over) {
  if (!run_.has_value()) {
    return;
  }
  ForgetAsked();
  run_.reset();
  Do(action::ReleaseRun{std::move(over)}, "the run is over for this worker");
}

void WorkerEngine::Advance() {
  if (!run_.has_value() || !run_->prepared) {
    return;
  }
  AdvanceUpload();
  if (asked_.sync.has_value()) {
    AdvanceSync();
  }
  if (exiting_ || asked_.sync.has_value() || !Idle()) {
    return;
  }
  if (!asked_.commits.empty()) {
    return AdvanceCommits();
  }
  if (asked_.report_due) {
    asked_.report_due = false;
    return Do(action::Evaluate{StartWork({.kind = WorkKind::kEvaluate})}, "the coordinator asked for a report");
  }
  if (run_->end.has_value()) {
    return FinishRun();
  }
  if (asked_.round_start.has_value()) {
    AdvanceRound();
    if (!exiting_) {
      AdvanceUpload();
    }
  }
  if (!exiting_ && Idle()) {
    ComputeAhead();
  }
}

uint64_t WorkerEngine::StartWork(Work work) {
  TRIBUTARY_ASSERT(Idle(), "work ", run_->work.number, " is under way");
  TRIBUTARY_ASSERT(run_->held.has_value() || work.kind == WorkKind::kPrepare || work.kind == WorkKind::kLoad,
                   "there is no state to work on");
  run_->work = std::move(work);
  run_->work.number = ++last_number_;
  return last_number_;
}

std::optional<WorkerEngine::Work> WorkerEngine::TakeWork(WorkKind kind, uint64_t number) {
  if (!run_.has_value() || Idle() || number != run_->work.number) {
    return std::nullopt;
  }
  TRIBUTARY_ASSERT(Working(kind), "work ", number, " is answered as if it were another");
  return std::exchange(run_->work, {});
}

void WorkerEngine::RetryLater(TransferAttempts& transfer, const absl::Status& status, absl::string_view what) {
  transfer.retry_at = now_ + Backoff(transfer.failures++);
  if (std::exchange(transfer.broke_off, true)) {
    return;
  }
  Note(LogLevel::kWarning, absl::StrCat(what, " broke off: ", status.message(), "; it will be continued, now and if it happens again"));
}

void WorkerEngine::CancelTransfers() {
  for (TransferAttempts* transfer : {&transfers_.download, &transfers_.upload}) {
    if (transfer->id != 0) {
      Do(action::CancelTransfer{transfer->id}, "it is no longer needed");
    }
    transfer->id = 0;
  }
}

absl::Duration WorkerEngine::Backoff(int failures) {
  const absl::Duration full = std::min(options_.max_backoff, options_.min_backoff * std::pow(2.0, std::min(failures, 30)));
  return full * (1.0 - 0.5 * options_.random());
}

void WorkerEngine::Exit(absl::Status status, absl::string_view reason) {
  exiting_ = true;
  Do(action::Exit{std::move(status)}, reason);
}

void WorkerEngine::SendMessage(v1::WorkerMessage message, absl::string_view reason) {
  if (session_.number != 0) {
    Do(action::Send{session_.number, std::move(message)}, reason);
  }
}

}  // namespace tributary::worker
