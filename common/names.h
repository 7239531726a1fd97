// Names of federations, sites, operators and runs, and words that people mistype.
#ifndef TRIBUTARY_COMMON_NAMES_H_
#define TRIBUTARY_COMMON_NAMES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tributary {

// Whether `name` is 1 to 63 characters of [a-z0-9] and inner hyphens (a DNS label): safe in identities, file names, metrics and logs.
bool IsName(absl::string_view name);

// Whether `id` is what a coordinator gives its runs: 1 to 100 characters of [a-z0-9-], the first of them no hyphen. Safe in file names and
// logs.
bool IsRunId(absl::string_view id);

// InvalidArgument: `address` is not HOST:PORT with a port from `least_port` to 65535; the message says what was meant. HOST is a name, an
// IPv4 address, or an IPv6 address in brackets. `least_port`: 0 of an address to listen on.
absl::Status CheckHostPort(absl::string_view address, int least_port = 1);

// Whether HOST:PORT is an address of this machine alone: 127.0.0.0/8, [::1] or localhost.
bool IsLoopback(absl::string_view host_port);

// "; did you mean 'rounds'?", or the list of what there is when nothing is near.
std::string DidYouMean(absl::string_view word, const std::vector<std::string>& known);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_NAMES_H_
