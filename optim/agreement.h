// Which sites a round does without because, over many rounds, what they send opposes what the others send, or agrees with nothing but
// itself (Aggregation::kAgreement).
//
//   D, of a place: after each commit, D = 7/8 D + 2^12 * sign(votes), toward zero in integers. votes: the signs of what the round's sites
//   sent of that place. However many push one way, a place moves by one vote: three that collude say no more there than one.
//   agreement of an update, sent against the D of its round: the cosine between its signs and D. Without values, or before there is a D,
//   it has none, and says nothing.
//   score of a site: score += (agreement - score) / 32, from 0, with every committed round that it sent an update to; in
//   every other, score -= score / 32, until it is forgotten.
// Left out of a sum are
//   those against it: score < -1/20. No more than (N - 1) / 2 of the N sites that have a score, the lowest: fewer than half. Nor do
//   they vote, so that they cannot turn D.
//   those that agree with themselves: score > 1/4 and more than 4 times the (upper) median of all. They vote on, so that D shows it on.
// Updates of who is left out are measured as before, so that a site that sends something else comes back by itself.
//
// All of it is a function of the updates of committed rounds alone: whoever adds the same updates of the same sites to the same rounds, in
// any order, leaves out the same. docs/explanation/robustness.md has what the numbers were chosen by. Internal.
#ifndef TRIBUTARY_OPTIM_AGREEMENT_H_
#define TRIBUTARY_OPTIM_AGREEMENT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tributary::optim {

inline constexpr double kAgainst = -1.0 / 20;
inline constexpr double kWithItself = 1.0 / 4;
inline constexpr double kTimesMedian = 4;
inline constexpr double kScoreRounds = 32;
// In magnitude: a score below it, of a site that is away, is forgotten.
inline constexpr double kForgotten = 1.0 / 1024;

// Not thread-safe; LeavesOut alone may run beside other calls of it. Memory: 4 bytes a place, and a score a site.
class Agreement {
 public:
  // Calls `vote` with each place, in [0, places), of which an update holds a value, and its sign, 1 or -1.
  using Vote = absl::FunctionRef<void(int64_t place, int sign)>;
  using Update = absl::FunctionRef<void(Vote vote)>;

  explicit Agreement(int64_t places) : direction_(places, 0), votes_(places, 0) {}

  // A round begins, or the open one anew: no votes, and it is decided who is left out.
  void Open();
  bool LeavesOut(absl::string_view site) const { return left_out_.contains(site); }
  // An update of the site for the open round came, or is taken back: the same one. A site has one update in a round.
  void Add(absl::string_view site, Update update);
  void Remove(absl::string_view site, Update update);
  // The round is committed: what came counts from the next on.
  void Close();

  // Absent: the site has none.
  std::optional<double> ScoreOf(absl::string_view site) const;

  // D and the scores of committed rounds. InvalidArgument: not what Save gives; nothing is changed.
  std::string Save() const;
  absl::Status Restore(absl::string_view saved);

 private:
  void Count(absl::string_view site, Update update, int sign);
  void MeasureDirection();

  std::vector<int16_t> direction_;  // D
  double squares_ = 0;              // of D, summed
  std::map<std::string, double, std::less<>> scores_;
  // Of the open round.
  std::vector<int16_t> votes_;
  std::map<std::string, double, std::less<>> agreements_;
  std::set<std::string, std::less<>> left_out_;
};

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_AGREEMENT_H_
