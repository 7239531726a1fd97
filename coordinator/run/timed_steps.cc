#include "coordinator/run/timed_steps.h"

#include <algorithm>
#include <vector>

namespace tributary::coordinator {

uint64_t ReferenceRound(const RunModel& model, uint64_t round) {
  const uint64_t back = model.spec.pipeline() != 0 ? 2 : 1;
  return optim::StepsAreTimed(model.options) && round > back ? round - back : 0;
}

optim::RoundParameters ParametersOf(const RunModel& model, uint64_t round, uint32_t steps) {
  optim::RoundParameters parameters = optim::ParametersForRound(model.options, round);
  if (ReferenceRound(model, round) != 0) {
    parameters.local_steps = std::clamp(steps, optim::kLeastTimedSteps, optim::kMaxLocalSteps);
  }
  return parameters;
}

uint32_t StepsTaken(const RunModel& model, const optim::RoundParameters& parameters,
                    const std::map<std::string, v1::UpdateReport>& reports) {
  if (!optim::StepsAreTimed(model.options)) {
    return parameters.local_steps;
  }
  std::vector<uint32_t> taken;
  for (const auto& [site, report] : reports) {
    if (report.local_steps() >= optim::kLeastTimedSteps && report.local_steps() <= optim::kMaxLocalSteps) {
      taken.push_back(report.local_steps());
    }
  }
  if (taken.empty()) {
    return parameters.local_steps;
  }
  const auto median = taken.begin() + static_cast<ptrdiff_t>(taken.size() / 2);
  std::nth_element(taken.begin(), median, taken.end());
  return *median;
}

}  // namespace tributary::coordinator
