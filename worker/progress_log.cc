#include "worker/progress_log.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/format_bytes.h"
#include "common/log.h"

namespace tributary::worker {
namespace {

constexpr absl::Duration kTellEvery = absl::Seconds(10);

}  // namespace

void ProgressLog::BeginRun(const std::string& name, absl::Time now) {
  Flush(now);
  run_ = name;
  told_at_ = absl::InfinitePast();
}

void ProgressLog::Trained(uint64_t round, double train_loss) {
  if (since_.first_round == 0) {
    since_.first_round = round;
  }
  since_.last_round = round;
  since_.train_loss = train_loss;
}

void ProgressLog::Moved(ByteDirection direction, uint64_t bytes) {
  (direction == ByteDirection::kUp ? since_.bytes_up : since_.bytes_down) += bytes;
}

void ProgressLog::Settled(v1::Receipt::Result result, absl::Time now) {
  since_.included += result == v1::Receipt::INCLUDED ? 1 : 0;
  since_.late += result == v1::Receipt::LATE ? 1 : 0;
  since_.rejected += result == v1::Receipt::REJECTED ? 1 : 0;
  if (now - told_at_ >= kTellEvery) {
    Flush(now);
  }
}

void ProgressLog::Flush(absl::Time now) {
  if (since_.first_round == 0) {
    return;
  }
  std::string text = since_.first_round == since_.last_round ? absl::StrCat("round ", since_.last_round)
                                                             : absl::StrCat("rounds ", since_.first_round, " to ", since_.last_round);
  absl::StrAppend(&text, " trained: ", since_.included, " updates included");
  if (since_.late > 0) {
    absl::StrAppend(&text, ", ", since_.late, " late");
  }
  if (since_.rejected > 0) {
    absl::StrAppend(&text, ", ", since_.rejected, " rejected");
  }
  absl::StrAppendFormat(&text, ", training loss %.4g", since_.train_loss);
  LogInfo("worker", text, ", up ", FormatBytes(static_cast<double>(since_.bytes_up)), ", down ",
          FormatBytes(static_cast<double>(since_.bytes_down)), LogField("run", run_));
  since_ = {};
  told_at_ = now;
}

}  // namespace tributary::worker
