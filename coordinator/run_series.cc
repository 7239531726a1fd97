#include "coordinator/run_series.h"

#include <cstddef>

namespace tributary::coordinator {

RunSeries::RunSeries(const RunFamilies& families, const std::string& run)
    : info(std::make_unique<OptionalGauge>(families.info, prometheus::Labels{{"run", run}})),
      round(std::make_unique<OptionalGauge>(families.round, prometheus::Labels{{"run", run}})),
      compression_ratio(std::make_unique<OptionalGauge>(families.compression_ratio, prometheus::Labels{{"run", run}})) {
  for (size_t i = 0; i < loss.size(); ++i) {
    loss[i] = std::make_unique<OptionalGauge>(families.loss, prometheus::Labels{{"run", run}, {"split", kSplits[i]}});
  }
  for (size_t i = 0; i < metrics.size(); ++i) {
    const std::string metric(optim::kMetrics[i].name);
    metrics[i] = std::make_unique<OptionalGauge>(families.metric, prometheus::Labels{{"run", run}, {"metric", metric}});
  }
}

void RunSeries::Clear() {
  for (const auto* const gauge : {&info, &round, &compression_ratio}) {
    (*gauge)->Clear();
  }
  for (const auto& gauge : loss) {
    gauge->Clear();
  }
  for (const auto& gauge : metrics) {
    gauge->Clear();
  }
  for (const auto& [name, gauge] : sites) {
    gauge->Clear();
  }
}

}  // namespace tributary::coordinator
