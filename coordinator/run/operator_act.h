// What an operator does to a run: by whom, and why.
#ifndef TRIBUTARY_COORDINATOR_RUN_OPERATOR_ACT_H_
#define TRIBUTARY_COORDINATOR_RUN_OPERATOR_ACT_H_

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/excerpt.h"

namespace tributary::coordinator {

struct OperatorAct {
  std::string operator_name;  // as in the certificate
  std::string reason;         // may be empty
};

// "stopped by anna: wrong data".
inline std::string Told(absl::string_view done, const OperatorAct& act) {
  return absl::StrCat(done, " by ", act.operator_name, act.reason.empty() ? "" : ": ", Excerpt(act.reason));
}

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_RUN_OPERATOR_ACT_H_
