// What a process takes of its machine, as Prometheus gauges: disk and memory.
#ifndef TRIBUTARY_COMMON_RESOURCE_GAUGES_H_
#define TRIBUTARY_COMMON_RESOURCE_GAUGES_H_

#include <prometheus/registry.h>

#include <string>

#include "common/optional_gauge.h"

namespace tributary {

// Each gauge has no series where the machine does not tell. Thread-safe.
class ResourceGauges {
 public:
  struct Names {
    const char* disk_free;        // bytes that this user may still write on the file system of `folder`
    const char* memory_resident;  // bytes of this process in memory
    const char* memory_limit;     // bytes that it may have (common/memory_limits.h)
  };
  // `folder`: where the process keeps what it must not lose; empty: nowhere. `registry` outlives the gauges.
  ResourceGauges(const Names& names, std::string folder, prometheus::Registry& registry);

  // As things are now: before every scrape.
  void Refresh();

 private:
  const std::string folder_;
  OptionalGauge disk_free_;
  OptionalGauge memory_resident_;
  OptionalGauge memory_limit_;
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_RESOURCE_GAUGES_H_
