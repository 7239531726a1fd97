// The series of one run among the coordinator's metrics.
#ifndef TRIBUTARY_COORDINATOR_RUN_SERIES_H_
#define TRIBUTARY_COORDINATOR_RUN_SERIES_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "common/optional_gauge.h"
#include "coordinator/metric_labels.h"
#include "optim/metric_kind.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"

namespace tributary::coordinator {

struct RunFamilies {
  prometheus::Family<prometheus::Gauge>& info;
  prometheus::Family<prometheus::Gauge>& round;
  prometheus::Family<prometheus::Gauge>& compression_ratio;
  prometheus::Family<prometheus::Gauge>& loss;
  prometheus::Family<prometheus::Gauge>& metric;
};

// None of them is there before it is set. Not thread-safe; the families must outlive it.
struct RunSeries {
  RunSeries(const RunFamilies& families, const std::string& run);
  void Clear();

  std::unique_ptr<OptionalGauge> info, round, compression_ratio;
  std::array<std::unique_ptr<OptionalGauge>, kSplits.size()> loss;
  std::array<std::unique_ptr<OptionalGauge>, optim::kMetrics.size()> metrics;
  std::map<std::string, std::unique_ptr<OptionalGauge>> sites;  // by name
  uint64_t disk_forecast = 0;
  bool over = false;
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_SERIES_H_
