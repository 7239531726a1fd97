// What a server presents, asked for without trusting it: for messages about a handshake that failed.
#ifndef TRIBUTARY_COMMON_TLS_PROBE_H_
#define TRIBUTARY_COMMON_TLS_PROBE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/proxy.h"
#include "common/x509.h"

namespace tributary {

struct PresentedCertificate {
  // DescribeCertificate (x509.h).
  std::string description;
  // Why `ca` does not vouch for it, in OpenSSL's words; empty: it does.
  std::string objection;
  // As it came, the server's own first.
  std::vector<X509Ptr> chain;
};

// Connects to `host_port` by `route`, shakes hands and hangs up; nothing is sent but the greeting, no certificate above all. Blocks for
// `timeout` (whole seconds) and a look-up of the name at most. `ca`: PEM; empty: none. Unavailable: no certificate came. The process must
// ignore SIGPIPE.
absl::StatusOr<PresentedCertificate> AskForCertificate(const std::string& host_port, const Route& route, absl::string_view ca,
                                                       absl::Duration timeout);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_TLS_PROBE_H_
