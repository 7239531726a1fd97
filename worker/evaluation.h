// A run's data and model at one site, and what a theta is worth there. Shared by the trainer and the runs without a federation.
#ifndef TRIBUTARY_WORKER_EVALUATION_H_
#define TRIBUTARY_WORKER_EVALUATION_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/data/counter_rng.h"
#include "worker/data/data_source.h"
#include "worker/models/model.h"
#include "worker/trainer.h"

namespace tributary::worker {

// Opens `folder` the way `options` describes its data. InvalidArgument: the kind of data does not fit the model; errors of
// worker/data/data_source.h.
absl::StatusOr<std::unique_ptr<DataSource>> OpenData(const TrainerOptions& options, const std::string& folder);

// The model on `options.threads` threads.
absl::StatusOr<std::unique_ptr<Model>> OpenModel(const TrainerOptions& options, const optim::Layout& layout);

// The numbers that choose the training batch of local step `step` (0-based) of round `round` at `options.site`.
CounterRng BatchRng(const TrainerOptions& options, uint64_t round, uint32_t step);

// Over all targets of the validation batches of `data`: the mean loss, to which each counts as it weighs, and of `metrics` those that are
// defined there (worker/scores.h).
absl::StatusOr<Evaluation> Evaluate(Model& model, const DataSource& data, absl::Span<const float> theta,
                                    absl::Span<const optim::MetricKind> metrics);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_EVALUATION_H_
