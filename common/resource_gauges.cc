#include "common/resource_gauges.h"

#include <unistd.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/files.h"
#include "common/memory_limits.h"

namespace tributary {
namespace {

prometheus::Family<prometheus::Gauge>& Family(const char* name, const char* help, prometheus::Registry& registry) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

absl::StatusOr<uint64_t> ResidentBytes() {
  absl::StatusOr<std::string> statm = ReadFile("/proc/self/statm", 4096);
  if (!statm.ok()) {
    return statm.status();
  }
  const std::vector<absl::string_view> pages = absl::StrSplit(*statm, ' ');
  uint64_t resident = 0;
  if (pages.size() < 2 || !absl::SimpleAtoi(pages[1], &resident)) {
    return absl::UnavailableError("/proc/self/statm does not say");
  }
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

void SetIfKnown(const absl::StatusOr<uint64_t>& bytes, OptionalGauge& gauge) {
  if (bytes.ok()) {
    gauge.Set(static_cast<double>(*bytes));
  } else {
    gauge.Clear();
  }
}

}  // namespace

ResourceGauges::ResourceGauges(const Names& names, std::string folder, prometheus::Registry& registry)
    : folder_(std::move(folder)),
      disk_free_(Family(names.disk_free, "Bytes free on the file system of the folder that must not be lost", registry)),
      memory_resident_(Family(names.memory_resident, "Bytes of memory that this process has", registry)),
      memory_limit_(
          Family(names.memory_limit, "Bytes of memory that this process may have: of its control group or the machine", registry)) {}

void ResourceGauges::Refresh() {
  if (!folder_.empty()) {
    SetIfKnown(FreeBytes(folder_), disk_free_);
  }
  SetIfKnown(ResidentBytes(), memory_resident_);
  const absl::StatusOr<MemoryLimits> limits = ReadMemoryLimits();
  SetIfKnown(limits.ok() ? absl::StatusOr<uint64_t>(limits->total) : limits.status(), memory_limit_);
}

}  // namespace tributary
