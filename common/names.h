// Names of federations, sites, operators and runs.
#ifndef TRIBUTARY_COMMON_NAMES_H_
#define TRIBUTARY_COMMON_NAMES_H_

#include "absl/strings/string_view.h"

namespace tributary {

// Whether `name` is 1 to 63 characters of [a-z0-9] and inner hyphens (a DNS label): safe in identities, file names, metrics and logs.
bool IsName(absl::string_view name);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_NAMES_H_
