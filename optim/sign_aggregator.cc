// Majority votes: `signsgd`.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/assert.h"
#include "common/status_macros.h"
#include "optim/dense_modes.h"
#include "optim/dense_payload.h"
#include "optim/empty_state.h"
#include "optim/integer_runs.h"
#include "optim/live_pieces.h"
#include "optim/round_aggregator.h"
#include "optim/sign_payload.h"

namespace tributary::optim {
namespace {

class SignAggregator final : public RoundAggregator {
 public:
  SignAggregator(const OptimizerOptions& options, const Layout& layout)
      : RoundAggregator(options, layout), pieces_(CutLive(layout, kSignPiece)), found_(pieces_.size()) {
    if (options.aggregation == Aggregation::kAgreement) {
      AskWhoAgrees(LiveSize(pieces_));
    }
  }

  // A vote counts one, whatever its norm.
  absl::StatusOr<double> Measure(absl::string_view payload) const override {
    TRIBUTARY_RETURN_IF_ERROR(ParseSigns(pieces_, payload, nullptr));
    return 0.0;
  }

 private:
  std::string SaveSum() const override { return EmptyState("aggregator", options(), layout()); }
  absl::Status RestoreSum(absl::string_view state) override { return CheckEmptyState("aggregator", options(), layout(), state); }
  void Open() override { votes_.assign(LiveSize(pieces_), 0); }

  absl::StatusOr<double> Sum(absl::string_view payload, uint32_t, int factor) override {
    TRIBUTARY_RETURN_IF_ERROR(ParseSigns(pieces_, payload, found_.data()));
    for (size_t p = 0; p < pieces_.size(); ++p) {
      int16_t* votes = votes_.data() + pieces_[p].live;
      ForEachSign(found_[p], pieces_[p].size,
                  [votes, factor](int64_t i, int sign) { votes[i] = static_cast<int16_t>(votes[i] + factor * sign); });
    }
    return 0.0;
  }

  void VisitVotes(absl::string_view payload, Agreement::Vote vote) const override {
    std::vector<SignPiece> found(pieces_.size());
    TRIBUTARY_ASSERT(ParseSigns(pieces_, payload, found.data()).ok(), "an update that was found valid");
    for (size_t p = 0; p < pieces_.size(); ++p) {
      ForEachSign(found[p], pieces_[p].size, [&, first = pieces_[p].live](int64_t i, int sign) { vote(first + i, sign); });
    }
  }

  absl::Status Collect(int, absl::FunctionRef<absl::Status(uint64_t bytes)> begin, ByteSink sink) override {
    std::string payload(1, static_cast<char>(kDenseVersion));
    for (const LivePiece& piece : pieces_) {
      const int16_t* votes = votes_.data() + piece.live;
      AppendSigns(
          piece.size, [votes](int64_t i) { return (votes[i] > 0) - (votes[i] < 0); }, payload);
    }
    TRIBUTARY_RETURN_IF_ERROR(begin(payload.size()));
    return sink(payload);
  }

  absl::Status TakeSums(std::string& out) override {
    AppendRuns(absl::MakeConstSpan(votes_), out);
    return absl::OkStatus();
  }

  absl::Status MergeSums(absl::string_view sums, uint32_t added, uint64_t) override {
    std::vector<int16_t> more(votes_.size());
    TRIBUTARY_RETURN_IF_ERROR(ReadRuns(sums, added, absl::MakeSpan(more)));
    if (!sums.empty()) {
      return absl::InvalidArgumentError("longer than its places");
    }
    for (size_t i = 0; i < votes_.size(); ++i) {
      votes_[i] = static_cast<int16_t>(votes_[i] + more[i]);
    }
    return absl::OkStatus();
  }

  static_assert(kMaxWorkers <= INT16_MAX);
  const std::vector<LivePiece> pieces_;
  std::vector<int16_t> votes_;    // [live parameters]
  std::vector<SignPiece> found_;  // scratch of one Sum
};

}  // namespace

std::unique_ptr<Aggregator> MakeSignAggregator(const OptimizerOptions& options, const Layout& layout) {
  return std::make_unique<SignAggregator>(options, layout);
}

}  // namespace tributary::optim
