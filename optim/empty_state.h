// The saved state of an encoder or aggregator that keeps nothing from round to round: it only says whose it is. Internal.
#ifndef TRIBUTARY_OPTIM_EMPTY_STATE_H_
#define TRIBUTARY_OPTIM_EMPTY_STATE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "optim/layout.h"
#include "optim/options.h"

namespace tributary::optim {

// `owner`: what kind of object it is the state of.
std::string EmptyState(absl::string_view owner, const OptimizerOptions& options, const Layout& layout);

// DataLoss: `state` is another one.
absl::Status CheckEmptyState(absl::string_view owner, const OptimizerOptions& options, const Layout& layout, absl::string_view state);

}  // namespace tributary::optim

#endif  // TRIBUTARY_OPTIM_EMPTY_STATE_H_
