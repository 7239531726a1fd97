// A run as the tables of its journal know it, and as messages call it.
#ifndef TRIBUTARY_COORDINATOR_JOURNAL_RUN_REF_H_
#define TRIBUTARY_COORDINATOR_JOURNAL_RUN_REF_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace tributary::coordinator {

struct RunRef {
  int64_t number = 0;
  absl::string_view id;  // must outlive it
};

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_JOURNAL_RUN_REF_H_
