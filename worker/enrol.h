// `tributary-worker enroll`: a site's first certificate, for a token.
#ifndef TRIBUTARY_WORKER_ENROL_H_
#define TRIBUTARY_WORKER_ENROL_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/proxy.h"
#include "common/tls.h"

namespace tributary::worker {

enum class ExistingFiles { kKeep, kReplace };

struct EnrolOptions {
  // host:port of the coordinator's `enrol_listen`.
  std::string coordinator;
  Route route;
  std::string token;
  // Whom the configuration says this to be; empty: whoever the token is for.
  std::string federation;
  std::string site;
  // Where to put what is made. The key is made here, readable by this user alone, and stays.
  TlsFiles files;
  ExistingFiles existing = ExistingFiles::kKeep;
  // Told what a person should know meanwhile: a line each.
  std::function<void(const std::string&)> say;
  // Sleeps; an error ends the wait for approval.
  std::function<absl::Status(absl::Duration)> wait;
};

// Returns who the site is. The token goes to nobody but the coordinator that it names. Interrupted at any moment, it may be called again
// with the same token. AlreadyExists: there is a certificate, and it is to be kept. Unauthenticated, PermissionDenied, exit code
// kCredentials: not that coordinator; the token is not good (any more). Errors of writing files.
absl::StatusOr<Identity> Enrol(const EnrolOptions& options);

}  // namespace tributary::worker

#endif  // TRIBUTARY_WORKER_ENROL_H_
