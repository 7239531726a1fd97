#include "worker/evaluation.h"

#include <algorithm>
#include <numeric>
#include <variant>

#include "absl/strings/str_cat.h"
#include "common/cpu_limits.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"
#include "worker/scores.h"

namespace tributary::worker {

absl::StatusOr<std::unique_ptr<DataSource>> OpenData(const TrainerOptions& options, const std::string& folder) {
  DataOptions data;
  data.folder = folder;
  data.validation_fraction = options.validation_fraction;
  data.evaluation_batches = options.evaluation_batches;
  data.batch_size = options.batch_size;
  if (options.batch_size < 1 || options.evaluation_batches < 1 || !(options.validation_fraction > 0 && options.validation_fraction < 1)) {
    return absl::InvalidArgumentError("batch_size and evaluation batches must be at least 1, and validation_fraction between 0 and 1");
  }
  const optim::SampleShape shape = optim::SampleShapeOf(options.model);
  const optim::DataTraits& kind = optim::TraitsOf(options.data_kind);
  if (!kind.gives(shape)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model does not learn from ", kind.name, " data: change model or data.kind in the run file"));
  }
  switch (options.data_kind) {
    case optim::DataKind::kText:
      return MakeTextSource(data, optim::ContextOf(shape));
    case optim::DataKind::kCsv: {
      TableOptions table = options.table;
      const auto* const classes = std::get_if<optim::TableRows>(&shape);
      table.inputs = classes != nullptr ? classes->inputs : std::get<optim::ValueRows>(shape).inputs;
      table.outputs = classes != nullptr ? classes->outputs : 0;
      return MakeCsvSource(data, table);
    }
    case optim::DataKind::kTokens: {
      const auto& windows = std::get<optim::TokenWindows>(shape);
      return MakeTokenSource(data, {options.token_bytes, windows.context, windows.vocabulary});
    }
    case optim::DataKind::kImages: {
      const auto& images = std::get<optim::Images>(shape);
      return MakeImageSource(data, {{images.height, images.width, images.channels}, images.classes, options.class_names});
    }
    case optim::DataKind::kCustom:
      return absl::InvalidArgumentError("custom data are read by a program of the site's own, with the Python package `tributary`");
  }
  return absl::InternalError("a kind of data without a reader");
}

absl::StatusOr<std::unique_ptr<Model>> OpenModel(const TrainerOptions& options, const optim::Layout& layout) {
  return Model::Create(options.model, layout, options.threads > 0 ? options.threads : UsableCores());
}

CounterRng BatchRng(const TrainerOptions& options, uint64_t round, uint32_t step) {
  return CounterRng(absl::StrCat("tributary batch/", options.seed, "/", options.site, "/", round, "/", step));
}

absl::StatusOr<Evaluation> Evaluate(Model& model, const DataSource& data, absl::Span<const float> theta,
                                    absl::Span<const optim::MetricKind> metrics) {
  Scores scores(metrics);
  double sum = 0;
  double targets = 0;
  for (uint32_t i = 0; i < data.validation_batches(); ++i) {
    const Batch batch = data.Validation(i);
    const auto judge = [&](absl::Span<const float> outputs) { scores.Add(outputs, batch); };
    TRIBUTARY_ASSIGN_OR_RETURN(const double loss,
                               scores.needs_outputs() ? model.LossAndOutputs(theta, batch, judge) : model.Loss(theta, batch));
    const double count = static_cast<double>(std::max({batch.targets.size(), batch.values.size(), static_cast<size_t>(batch.rows)}));
    const double weight = batch.weights.empty() ? count : std::accumulate(batch.weights.begin(), batch.weights.end(), 0.0);
    sum += loss * weight;
    targets += weight;
  }
  const double loss = sum / targets;
  return Evaluation{loss, scores.Metrics(loss, data.value_scale())};
}

}  // namespace tributary::worker
