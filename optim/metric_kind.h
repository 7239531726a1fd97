// The metrics by which people judge a model on a validation split, in one table: what is better, what values there are, and which models
// have them.
#ifndef TRIBUTARY_OPTIM_METRIC_KIND_H_
#define TRIBUTARY_OPTIM_METRIC_KIND_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <variant>

#include "absl/strings/string_view.h"
#include "optim/data_kind.h"

namespace tributary::optim {

enum class MetricKind { kAccuracy, kAuroc, kF1, kRmse, kPerplexity };

// AUROC needs the scores of the whole validation split in memory, for every class.
inline constexpr int64_t kMaxAurocClasses = 100;

enum class Better { kHigher, kLower };

struct MetricTraits {
  MetricKind kind;
  absl::string_view name;
  Better better;
  double most;  // of its values; the least is 0
  bool (*has)(const SampleShape& shape);
};

// To tell apart; 0: there are none, or only the sites' own programs know.
constexpr int64_t ClassesOf(const SampleShape& shape) {
  if (const auto* const table = std::get_if<TableRows>(&shape); table != nullptr) {
    return table->outputs;
  }
  const auto* const images = std::get_if<Images>(&shape);
  return images != nullptr ? images->classes : 0;
}

constexpr bool HasClasses(const SampleShape& shape) {
  return ClassesOf(shape) > 0 || std::holds_alternative<OwnSamples>(shape);
}

constexpr bool HasTokens(const SampleShape& shape) {
  return std::holds_alternative<TextWindows>(shape) || std::holds_alternative<TokenWindows>(shape) ||
         std::holds_alternative<OwnSamples>(shape);
}

constexpr bool HasValues(const SampleShape& shape) {
  return std::holds_alternative<ValueRows>(shape) || std::holds_alternative<OwnSamples>(shape);
}

// In the order of MetricKind. Of text and tokens, accuracy is the share of tokens whose next one is the model's first choice.
inline constexpr auto kMetrics = std::to_array<MetricTraits>({
    {MetricKind::kAccuracy, "accuracy", Better::kHigher, 1, [](const SampleShape& shape) { return HasClasses(shape) || HasTokens(shape); }},
    {MetricKind::kAuroc, "auroc", Better::kHigher, 1, HasClasses},
    {MetricKind::kF1, "f1", Better::kHigher, 1, HasClasses},
    {MetricKind::kRmse, "rmse", Better::kLower, std::numeric_limits<double>::max(), HasValues},
    {MetricKind::kPerplexity, "perplexity", Better::kLower, std::numeric_limits<double>::max(), HasTokens},
});

constexpr const MetricTraits& TraitsOf(MetricKind kind) {
  return kMetrics[static_cast<size_t>(kind)];
}

// None: there is no metric of this name.
constexpr std::optional<MetricKind> MetricNamed(absl::string_view name) {
  for (const MetricTraits& metric : kMetrics) {
    if (metric.name == name) {
      return metric.kind;
    }
  }
  return std::nullopt;
}

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_METRIC_KIND_H_
