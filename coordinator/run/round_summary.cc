#include "coordinator/run/round_summary.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/format_bytes.h"
#include "common/log.h"

namespace tributary::coordinator {
namespace {

constexpr absl::Duration kTellEvery = absl::Seconds(10);

std::string Bytes(uint64_t bytes) {
  return FormatBytes(static_cast<double>(bytes));
}

}  // namespace

void RoundSummary::RoundCommitted(const v1::RoundRecord& record, absl::Time now) {
  Log(LogLevel::kDebug, "coordinator", "round ", record.round(), " committed: ", record.included(), " of ", record.members(), " updates",
      record.has_train_loss() ? absl::StrCat(", training loss ", record.train_loss()) : "", ", up ", record.bytes_up(), " B, down ",
      record.bytes_down(), " B", LogField("run", run_id_));
  if (since_.first_round == 0) {
    since_.first_round = record.round();
  }
  since_.last_round = record.round();
  since_.included += record.included();
  since_.expected += record.members();
  since_.bytes_up += record.bytes_up();
  since_.bytes_down += record.bytes_down();
  if (record.has_train_loss()) {
    since_.train_loss = record.train_loss();
  }
  if (now - told_at_ >= kTellEvery) {
    Flush(now);
  }
}

void RoundSummary::Flush(absl::Time now) {
  if (since_.first_round == 0) {
    return;
  }
  const bool one = since_.first_round == since_.last_round;
  std::string text =
      one ? absl::StrCat("round ", since_.last_round) : absl::StrCat("rounds ", since_.first_round, " to ", since_.last_round);
  absl::StrAppend(&text, " of ", rounds_, " committed: ", since_.included, " of ", since_.expected, " updates");
  if (since_.late > 0) {
    absl::StrAppend(&text, ", ", since_.late, " late");
  }
  if (since_.rejected > 0) {
    absl::StrAppend(&text, ", ", since_.rejected, " rejected");
  }
  if (since_.train_loss.has_value()) {
    absl::StrAppendFormat(&text, ", training loss %.4g", *since_.train_loss);
  }
  if (validation_loss_.has_value()) {
    absl::StrAppendFormat(&text, ", validation loss %.4g", *validation_loss_);
  }
  LogInfo("coordinator", text, ", up ", Bytes(since_.bytes_up), ", down ", Bytes(since_.bytes_down), LogField("run", run_id_));
  since_ = {};
  told_at_ = now;
}

}  // namespace tributary::coordinator
