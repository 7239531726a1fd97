// Pages about runs: HTML in one file, with nothing from elsewhere, in light and dark. Pure.
#ifndef TRIBUTARY_CLI_REPORT_PAGE_H_
#define TRIBUTARY_CLI_REPORT_PAGE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "proto/run_curves.h"

namespace tributary::cli {

// Runs that one page can tell apart.
inline constexpr size_t kMostRunsCompared = 8;

// What a person puts beside a run, for the reader to compare with.
struct Beside {
  struct NamedLoss {
    std::string name;
    double loss = 0;
  };
  std::vector<NamedLoss> levels;
  std::optional<Curve> baseline;
  std::string sample;  // text from the model
  std::string image;   // a PNG from the model, in bytes
};

// What one run did: losses by steps and bytes, bytes, time, sites, hashes. `now`: when it is drawn.
std::string ReportPage(const ReportedRun& run, const Beside& beside, absl::Time now);

// Runs over each other, by steps, bytes and time. At most kMostRunsCompared.
std::string ComparisonPage(const std::vector<ReportedRun>& runs, absl::Time now);

}  // namespace tributary::cli

#endif  // TRIBUTARY_CLI_REPORT_PAGE_H_
