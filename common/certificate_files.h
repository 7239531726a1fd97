// The certificate files of a program, checked: nothing else reads them for TLS.
//
// A rotation replaces several files one after the other, and for a moment one is empty, half written, or of another pair than the next.
// That moment must not reach a connection: what was good stays in use until the files are good again.
#ifndef TRIBUTARY_COMMON_CERTIFICATE_FILES_H_
#define TRIBUTARY_COMMON_CERTIFICATE_FILES_H_

#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/tls.h"

namespace tributary {

// Reads and checks the three files: they exist, parse, belong together, are within their validity now, chain to the CA, and name `owner`.
// What was checked is what is returned: the files are read once. Unauthenticated with exit code kCredentials says which check failed, with
// dates, paths and what to do.
absl::StatusOr<CertificatePair> LoadCertificatePair(const TlsFiles& files, const Identity& owner);

// The newest pair that was good. Thread-safe.
class CertificateFiles {
 public:
  // Errors as LoadCertificatePair's: a program does not start with files that are not good.
  static absl::StatusOr<std::shared_ptr<CertificateFiles>> Open(const TlsFiles& files, const Identity& owner);

  // Never null.
  std::shared_ptr<const CertificatePair> current() const;
  TlsFiles files() const;

  // Looks at the files again. True: what they hold is new, and in use from now on. Errors as LoadCertificatePair's; what was in use stays.
  absl::StatusOr<bool> Refresh();
  // Refresh with other files, which are the ones to look at from now on; after an error they are not.
  absl::StatusOr<bool> MoveTo(const TlsFiles& files);

 private:
  CertificateFiles(TlsFiles files, Identity owner, CertificatePair pair);

  const Identity owner_;
  // Of the standard library: ThreadSanitizer does not see into a packaged Abseil.
  mutable std::mutex mutex_;
  TlsFiles files_;                                  // under mutex_
  std::shared_ptr<const CertificatePair> current_;  // under mutex_
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CERTIFICATE_FILES_H_
