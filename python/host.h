// A Python program's side of a worker (worker/hosted_trainer.h): it takes work, does it, and answers.
//
// No thread of the worker ever takes Python's lock: the program's thread asks for work and answers, and waits without the lock.
#ifndef TRIBUTARY_PYTHON_HOST_H_
#define TRIBUTARY_PYTHON_HOST_H_

#include <unistd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "optim/layout.h"
#include "python/glue.h"
#include "worker/hosted_trainer.h"

namespace tributary::python {

// What a round is, for the program.
struct Round {
  std::string mode;
  bool sends_weights = false;
  uint64_t number = 0;
  uint64_t rounds = 0;
  float learning_rate = 0;
  uint32_t local_steps = 0;
  std::optional<double> local_time;  // seconds; the program counts its own steps then
  uint32_t most_local_steps = 0;
  uint32_t batch_size = 0;
  float clip_norm = 0;
  uint64_t seed = 0;
};

// One thread uses it, with Python's lock.
class Host {
 public:
  Host(const std::vector<Tensor>& tensors, bool knows_frozen, uint64_t samples);
  virtual ~Host();

  // The next piece of work, a Round or "evaluate"; None, if there is none within `patience` seconds.
  py::object Next(double patience);
  // The parameters that the piece of work starts from, in the order of `layout`. Good until the answer.
  py::array_t<float> Theta() const;
  // Of the run of the last piece of work, in the order of theta.
  std::vector<Tensor> Layout() const { return TensorsOf(layout_); }
  // Writes one block of the direction: a gradient as it is; of weights after local steps, what they were before less what they are.
  void Put(size_t block, const Array& values);

  // Of the round under way, whose program counts its own steps.
  void TookSteps(uint32_t steps);

  // `metrics`: of an evaluation, by name.
  void Answer(double loss, const std::map<std::string, double>& metrics);
  void Skip(const std::string& why) { Give(absl::CancelledError(why)); }
  void EvaluateNothing() { Give(absl::UnimplementedError("this program evaluates nothing")); }

  // No more work will come.
  virtual bool Over() const = 0;
  // After Over or Stop: raises what it ended with, if that was an error. Once. In a fork: nothing.
  virtual void Finish() = 0;
  // What is taken is skipped, and nothing more is asked. In a fork: nothing.
  virtual void Stop(const std::string& reason);

 protected:
  worker::HostedWork& work() { return *work_; }
  // This is a child that fork() made: it has none of the threads, and what is the parent's stays as it is.
  bool InFork() const { return getpid() != process_; }

 private:
  // Raises in a fork.
  void CheckProcess() const;
  // Raises: there is none.
  worker::HostedWork::Train& RoundUnderWay();
  void Give(absl::StatusOr<worker::Evaluation> answer);

  const pid_t process_;
  std::unique_ptr<worker::HostedWork> work_;
  std::optional<worker::HostedWork::Work> taken_;
  optim::Layout layout_;
};

void AddHost(py::module_& module);

}  // namespace tributary::python

#endif  // TRIBUTARY_PYTHON_HOST_H_
