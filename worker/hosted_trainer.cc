#include "worker/hosted_trainer.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock.h"
#include "common/status_macros.h"

namespace tributary::worker {
namespace {

// Beyond it, what a standard library makes of a duration may overflow.
constexpr absl::Duration kLongest = absl::Hours(24);

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// InvalidArgument: the run's model is not the program's.
absl::Status CheckBlocks(const std::vector<optim::Block>& own, HostedWork::Frozen frozen, const optim::Layout& run) {
  std::map<std::string, const optim::Block*> by_name;
  for (const optim::Block& block : own) {
    by_name[block.name] = &block;
  }
  for (const optim::Block& block : run.blocks()) {
    const auto found = by_name.find(block.name);
    if (found == by_name.end()) {
      return absl::InvalidArgumentError(absl::StrCat("the run's model has a tensor '", block.name, "', and this program's has none"));
    }
    if (found->second->shape != block.shape) {
      return absl::InvalidArgumentError(absl::StrCat("tensor '", block.name, "' has the shape ", ShapeText(block.shape),
                                                     " in the run, and ", ShapeText(found->second->shape), " in this program's model"));
    }
    if (frozen == HostedWork::Frozen::kKnown && found->second->frozen != block.frozen) {
      return absl::InvalidArgumentError(absl::StrCat("tensor '", block.name, "' is ", block.frozen ? "frozen" : "trained",
                                                     " in the run, and ", block.frozen ? "trained" : "frozen", " in this program's model"));
    }
    by_name.erase(found);
  }
  if (!by_name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("this program's model has a tensor '", by_name.begin()->first, "', and the run's has none"));
  }
  return absl::OkStatus();
}

}  // namespace

class HostedWork::HostedTrainer final : public Trainer {
 public:
  HostedTrainer(HostedWork* work, TrainerOptions options) : work_(work), options_(std::move(options)) {}

  absl::StatusOr<StepResult> ComputeDirection(const optim::RoundParameters& parameters, absl::Span<const float> theta,
                                              absl::Span<float> direction) override {
    const absl::Time start = options_.clock->Now();
    uint32_t local_steps = parameters.local_steps;
    TRIBUTARY_ASSIGN_OR_RETURN(const Evaluation trained, work_->Ask(Train{&options_, parameters, theta, direction, &local_steps}));
    return StepResult{static_cast<float>(trained.loss), static_cast<float>(absl::ToDoubleSeconds(options_.clock->Now() - start)),
                      local_steps};
  }

  uint64_t training_samples() const override { return work_->samples_; }

  absl::StatusOr<Evaluation> Evaluate(absl::Span<const float> theta) override { return work_->Ask(HostedWork::Evaluate{theta}); }

 private:
  HostedWork* const work_;
  const TrainerOptions options_;
};

TrainerFactory HostedWork::Factory() {
  return [this](const TrainerOptions& options, const optim::Layout& layout) -> absl::StatusOr<std::unique_ptr<Trainer>> {
    TRIBUTARY_RETURN_IF_ERROR(CheckBlocks(blocks_, frozen_, layout));
    const std::lock_guard<std::mutex> lock(mutex_);
    layout_ = layout;
    return std::make_unique<HostedTrainer>(this, options);
  };
}

absl::StatusOr<Evaluation> HostedWork::Ask(Work work) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!closed_.ok()) {
    return closed_;
  }
  work_ = std::move(work);
  taken_ = false;
  answer_.reset();
  changed_.notify_all();
  // The host may still be writing into what it was given: only its answer ends the wait once it has taken the work.
  changed_.wait(lock, [this] { return answer_.has_value() || (!closed_.ok() && !taken_); });
  work_.reset();
  return answer_.has_value() ? *answer_ : closed_;
}

std::optional<HostedWork::Work> HostedWork::Next(absl::Duration patience) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto ready = [this] { return work_.has_value() && !taken_ && closed_.ok(); };
  if (!changed_.wait_for(lock, absl::ToChronoMicroseconds(std::min(patience, kLongest)), ready)) {
    return std::nullopt;
  }
  taken_ = true;
  return work_;
}

void HostedWork::Answer(absl::StatusOr<Evaluation> answer) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (work_.has_value() && taken_) {
    answer_ = std::move(answer);
    work_.reset();
    taken_ = false;
    changed_.notify_all();
  }
}

optim::Layout HostedWork::layout() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return layout_;
}

void HostedWork::Close(const absl::Status& why) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (closed_.ok()) {
    closed_ = why;
    changed_.notify_all();
  }
}

}  // namespace tributary::worker
