#include "cli/history.h"

#include <atomic>
#include <cstdint>
#include <ostream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "cli/output.h"
#include "cli/table.h"
#include "common/exit_codes.h"
#include "common/format_bytes.h"
#include "common/standard_output.h"
#include "common/status_macros.h"
#include "proto/run_state.h"

namespace tributary::cli {
namespace {

std::string FormatHistory(const v1::RunSpec& spec, const v1::RunHistory& history, size_t columns) {
  std::vector<std::vector<std::string>> rows = {{"ROUND", "TRAIN", "VAL", "INCLUDED", "LATE", "UP/STEP", "DOWN/STEP", "LESS", "SECONDS"}};
  constexpr int kMetrics = 3;  // behind VAL
  const std::vector<std::string> metrics = MetricHeadings(spec);
  rows[0].insert(rows[0].begin() + kMetrics, metrics.begin(), metrics.end());
  for (const v1::RoundRecord& round : history.rounds()) {
    const StepBytes bytes = StepBytesOf(round);
    rows.push_back({absl::StrCat(round.round()), round.has_train_loss() ? absl::StrFormat("%.4f", round.train_loss()) : "-",
                    round.has_val_loss() ? absl::StrFormat("%.4f", round.val_loss()) : "-",
                    absl::StrCat(round.included(), "/", round.members()), absl::StrCat(round.stragglers()), FormatBytes(bytes.up),
                    FormatBytes(bytes.down), absl::StrFormat("%.0fx", bytes.reduction), absl::StrFormat("%.2f", round.duration())});
    const std::vector<std::string> cells = MetricCells(round.metrics(), spec);
    rows.back().insert(rows.back().begin() + kMetrics, cells.begin(), cells.end());
  }
  return FormatTable(rows, {columns, {"LATE", "INCLUDED", "SECONDS", "LESS", "DOWN/STEP", "UP/STEP"}});
}

// Prints rounds as they become complete.
class Follower {
 public:
  Follower(const Session& session, Client* client, const v1::RunSpec& spec) : session_(session), client_(client), spec_(spec) {}

  absl::Status Follow(const v1::RunStatus& status) {
    if (status.round() <= newest_seen_ && !IsOver(status.state())) {
      return absl::OkStatus();
    }
    newest_seen_ = status.round();
    TRIBUTARY_ASSIGN_OR_RETURN(v1::RunHistory history, client_->GetRunHistory(status.run_id(), last_));
    v1::RunHistory complete;
    for (v1::RoundRecord& round : *history.mutable_rounds()) {
      // A coordinator of an earlier release sends all of them.
      if ((!begun_ || round.round() > last_) && (round.round() < status.round() || IsOver(status.state()))) {
        *complete.add_rounds() = std::move(round);
      }
    }
    if (complete.rounds().empty()) {
      return absl::OkStatus();
    }
    Print(complete);
    last_ = complete.rounds().rbegin()->round();
    begun_ = true;
    return absl::OkStatus();
  }

 private:
  void Print(const v1::RunHistory& complete) {
    std::ostream& out = *session_.environment.out;
    if (session_.json()) {
      for (const v1::RoundRecord& round : complete.rounds()) {
        out << ToJson(round) << "\n";
      }
    } else {
      const std::string text =
          session_.format == "csv" ? FormatHistoryCsv(spec_, complete) : FormatHistory(spec_, complete, session_.environment.columns);
      // The heading comes once.
      out << absl::string_view(text).substr(begun_ ? text.find('\n') + 1 : 0);
    }
    out << std::flush;
    if (!out) {
      session_.environment.interrupt->Raise();
    }
  }

  const Session& session_;
  Client* const client_;
  const v1::RunSpec spec_;
  bool begun_ = false;
  uint64_t last_ = 0;  // printed, once begun
  uint64_t newest_seen_ = 0;
};

absl::Status FollowToTheEnd(const Session& session, Client& client, const v1::RunStatus& run) {
  std::atomic<bool> reader_gone = false;
  const ReaderWatch reader(session.environment.out_fd, [&session, &reader_gone] {
    reader_gone = true;
    session.environment.interrupt->Raise();
  });
  Follower follower(session, &client, run.spec());
  absl::Status failed;
  const absl::StatusOr<v1::RunStatus> last = client.WatchRun(
      run.run_id(), [&](const v1::RunStatus& status) { failed = follower.Follow(status); }, [](const absl::Status&) {});
  if (reader_gone) {
    return WithExitCode(absl::CancelledError(""), ExitCode::kReaderGone);
  }
  TRIBUTARY_RETURN_IF_ERROR(last.status());
  // A coordinator that was away for a moment may have cut off what was to be printed.
  if (!failed.ok()) {
    TRIBUTARY_RETURN_IF_ERROR(follower.Follow(*last));
  }
  return EndOf(*last);
}

}  // namespace

absl::Status ShowHistory(const Session& session, const std::string& run, HistoryEnd end) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunStatus status, client.GetRun(run));
  if (end == HistoryEnd::kEndOfRun) {
    return FollowToTheEnd(session, client, status);
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::RunHistory history, client.GetRunHistory(status.run_id()));
  std::ostream& out = *session.environment.out;
  if (session.json()) {
    out << ToJson(history) << "\n";
  } else {
    out << (session.format == "csv" ? FormatHistoryCsv(status.spec(), history)
                                    : FormatHistory(status.spec(), history, session.environment.columns));
  }
  return absl::OkStatus();
}

absl::Status EndOf(const v1::RunStatus& status) {
  if (status.state() == v1::FINISHED) {
    return absl::OkStatus();
  }
  return WithExitCode(absl::AbortedError(absl::StrCat("run ", status.run_id(), " ", FormatState(status.state()), ": ", status.reason())),
                      ExitCode::kRunFailed);
}

}  // namespace tributary::cli
