// The update algebra without a coordinator: what each process of a cluster does with all processes' updates, `tributary.optim.DistrO`.
#ifndef TRIBUTARY_PYTHON_REPLICA_H_
#define TRIBUTARY_PYTHON_REPLICA_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "optim/aggregator.h"
#include "optim/encoder.h"
#include "optim/layout.h"
#include "optim/options.h"
#include "optim/replica_state.h"
#include "python/glue.h"

namespace tributary::python {

// One process's encoder, and its copy of the aggregator and of the model: equal updates in, equal bits out. One thread uses it, with
// Python's lock, which is let go of while it computes.
class Replica {
 public:
  // `optimizer`: as in run.yaml, JSON or YAML, of a mode that sends gradients. `theta`: the weights, in the order of `tensors`. `threads`:
  // 0: as many as this process may use. Raises UsageError.
  Replica(const std::string& optimizer, const std::vector<Tensor>& tensors, const Array& theta, int threads);

  // Writes one block of the gradient.
  void Put(size_t block, const Array& values) {
    const absl::Span<float> place = PlaceOf(layout_, block, values, absl::MakeSpan(gradient_));
    std::copy_n(values.data(), place.size(), place.data());
  }
  // The update of this process for the next round; empty, and nothing changes, if the gradient is not finite or too large to be sent. The
  // update of a round that came to nothing is not lost: it stays in the residual.
  py::bytes Encode(float learning_rate);
  // The round, of the updates of all processes; empty ones are left out. `own`: the place of this one's. After an error the replica can
  // go on.
  void Step(float learning_rate, const std::vector<std::string>& updates, size_t own);

  // In the order of `tensors`, as long as the replica lives.
  py::array_t<float> Theta(const py::object& self) const { return View(state_.theta, self); }
  std::string StateHash() const;
  uint64_t round() const { return state_.round; }
  double ResidualNorm() const { return encoder_->ResidualNorm(); }

  // What a restart needs: the state and the sums, equal in all processes, and the residual, which is this one's.
  std::vector<py::bytes> Save() const;
  // An empty `residual`: there is nothing that has not been sent. Views of theta see what is restored. Raises DamagedError; the replica is
  // unchanged then.
  void Restore(const std::string& state, const std::string& sums, const std::string& residual);

 private:
  // Adds them to the round that is open. An error: none of them.
  absl::Status Sum(const std::vector<std::string>& updates);
  optim::RoundParameters Next(float learning_rate) const { return {.round = state_.round + 1, .learning_rate = learning_rate}; }

  optim::OptimizerOptions options_;
  optim::Layout layout_;
  int threads_ = 1;
  std::unique_ptr<optim::UpdateEncoder> encoder_;
  std::unique_ptr<optim::Aggregator> aggregator_;
  optim::ReplicaState state_;
  std::vector<float> gradient_;  // [layout.size()]
};

void AddReplica(py::module_& module);

}  // namespace tributary::python

#endif  // TRIBUTARY_PYTHON_REPLICA_H_
