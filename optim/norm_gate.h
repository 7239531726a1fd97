// The bound on what one update may weigh in a round's sum, whatever its sender says of its own clipping.
//
//   B = min(c * median, contract)      c: OptimizerOptions::norm_bound
// median: the lower median of the norms of accepted updates, over the fewest latest committed rounds that hold kNormWindow of them; none
// until there are kFewestNorms. Norms count as they came, before scaling: so the bound follows an honest change at once, and fewer than
// half of the sites cannot move it far. Zeros do not count: silence is no evidence. contract: what no worker's update of the round is
// beyond if the worker does what the run asks of it (NormContract), from the first round on.
// An update beyond B is scaled down to it, however large: a site whose data are unlike the others' is no offender, and its norm counts from
// the next round on. Only one beyond kRefusedBeyond * contract, which no honest worker sends, is refused.
// Where local steps are timed, updates grow and shrink with how many they are scaled to in their round: norms then count by the step.
//
// B is a function of the run's options and of the updates of its committed rounds alone: whoever adds the same updates to the same rounds,
// in any order, bounds them by the same bits. Internal.
#ifndef TRIBUTARY_OPTIM_NORM_GATE_H_
#define TRIBUTARY_OPTIM_NORM_GATE_H_

#include <cstddef>
#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "optim/layout.h"
#include "optim/options.h"

namespace tributary::optim {

inline constexpr size_t kNormWindow = 64;
inline constexpr size_t kFewestNorms = 8;
inline constexpr double kRefusedBeyond = 10;

// Whether the run bounds norms: not where every update counts the same anyway (votes, unit norms), or where the run has switched it off.
bool BoundsNorms(const OptimizerOptions& options);

// Infinite where nothing follows from the options. Of the modes:
//   allreduce: clip_norm
//   fedavg, diloco: local steps of AdamW, each of which moves a parameter by at most its learning rate times a constant of its betas
//   demo, distro, local: the same times what the residual can have gathered since the first round (timed steps: infinite, for it may have
//     gathered from rounds of any number of steps)
double NormContract(const OptimizerOptions& options, const Layout& layout, const RoundParameters& parameters);

// Not thread-safe; ShareOf alone may run beside other calls of it.
class NormGate {
 public:
  // `layout` must outlive the gate.
  NormGate(const OptimizerOptions& options, const Layout& layout);

  bool bounds() const { return bounds_; }
  // B of the open round; infinite if nothing bounds it.
  double bound() const { return bound_; }

  // A round begins, or the open one anew; its norms are none.
  void Open(const RoundParameters& parameters);
  // What the sum takes of an update of this norm: 1, or B / norm. OutOfRange: refused.
  absl::StatusOr<double> ShareOf(double norm) const;
  // Of an update that is in the sum, or is taken out of it again.
  void Add(double norm);
  void Remove(double norm);
  // The round is committed: its norms count from the next on.
  void Close();

  // The norms of committed rounds. InvalidArgument: not what Save gives; the gate is unchanged.
  std::string Save() const;
  absl::Status Restore(absl::string_view saved);

 private:
  const OptimizerOptions options_;
  const Layout& layout_;
  const bool bounds_;
  double contract_;
  double bound_;
  double steps_ = 1;  // that norms of the open round are divided by, once they are committed
  std::vector<double> open_;
  // By round, ascending in each.
  std::deque<std::vector<double>> committed_;
  size_t count_ = 0;  // of committed_
};

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_NORM_GATE_H_
