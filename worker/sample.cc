#include "worker/sample.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/data/counter_rng.h"
#include "worker/models/model.h"

namespace tributary::worker {
namespace {

size_t Choose(const std::vector<float>& logits, double temperature, CounterRng& rng) {
  const auto likeliest = std::max_element(logits.begin(), logits.end());
  if (temperature == 0) {
    return static_cast<size_t>(likeliest - logits.begin());
  }
  std::vector<double> weights;
  double total = 0;
  for (const float logit : logits) {
    weights.push_back(std::exp((static_cast<double>(logit) - *likeliest) / temperature));
    total += weights.back();
  }
  double left = rng.Uniform() * total;
  for (size_t i = 0; i < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0) {
      return i;
    }
  }
  return static_cast<size_t>(likeliest - logits.begin());
}

}  // namespace

absl::StatusOr<std::string> SampleText(const optim::ModelSpec& model, absl::Span<const float> theta, const SampleOptions& options) {
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) {
    return absl::InvalidArgumentError(absl::StrCat("temperature ", options.temperature, " is not a number of at least 0"));
  }
  const optim::SampleShape shape = optim::SampleShapeOf(model);
  if (!optim::TraitsOf(optim::DataKind::kText).gives(shape)) {
    return absl::InvalidArgumentError("only a model that learns from text generates some: gpt, and llama with a vocab_size of 256");
  }
  const auto context = static_cast<size_t>(optim::ContextOf(shape));
  TRIBUTARY_ASSIGN_OR_RETURN(const optim::Layout layout, optim::MakeLayout(model));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::unique_ptr<Model> network, Model::Create(model, layout, options.threads));
  CounterRng rng(absl::StrCat("tributary sample/", options.seed));
  std::string text = options.prompt.empty() ? "\n" : options.prompt;
  Batch batch;
  batch.rows = 1;
  for (uint32_t i = 0; i < options.bytes; ++i) {
    const size_t length = std::min(text.size(), context);
    batch.tokens.clear();
    for (size_t at = text.size() - length; at < text.size(); ++at) {
      batch.tokens.push_back(static_cast<uint8_t>(text[at]));
    }
    TRIBUTARY_ASSIGN_OR_RETURN(std::vector<float> logits, network->Outputs(theta, batch));
    // Only the last token has a next one to be chosen.
    logits.erase(logits.begin(), logits.end() - static_cast<ptrdiff_t>(logits.size() / length));
    text.push_back(static_cast<char>(Choose(logits, options.temperature, rng)));
  }
  return text;
}

}  // namespace tributary::worker
