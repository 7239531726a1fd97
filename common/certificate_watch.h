// Follows the certificate files of a daemon while it runs, and says in its log what becomes of them.
#ifndef TRIBUTARY_COMMON_CERTIFICATE_WATCH_H_
#define TRIBUTARY_COMMON_CERTIFICATE_WATCH_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/certificate_files.h"
#include "common/clock.h"
#include "common/executor.h"
#include "common/tls.h"

namespace tributary {

// When to say that a certificate nears its end: from a third of its lifetime on, once a day for each. Not thread-safe.
class ExpiryWarnings {
 public:
  // `whose`: "the certificate of site berlin"; few, for each is remembered. Empty: nothing to say now. `now`: calendar time.
  std::string Check(const std::string& whose, const Validity& validity, absl::Time now);

 private:
  std::map<std::string, absl::Time> told_;
};

class CertificateWatch {
 public:
  struct Options {
    // Who speaks in the log: "coordinator", "worker".
    std::string component;
    absl::Duration interval = absl::Seconds(1);
    Clock* clock = &Clock::Real();
    // Told after every look, on the watch's thread; for metrics.
    std::function<void(const CertificatePair& in_use, CertificateFilesState state)> observe;
  };

  // Looks at once, and then every `interval`, on a thread of its own: a file system that hangs holds up nothing else.
  CertificateWatch(std::shared_ptr<CertificateFiles> files, Options options);
  // Waits for a look under way.
  ~CertificateWatch();

  // From now on follows other files. Errors as CertificateFiles::MoveTo's: then all stays. Thread-safe.
  absl::Status MoveTo(const TlsFiles& files);

 private:
  void Look();
  void Tell(const absl::StatusOr<bool>& changed);

  const std::shared_ptr<CertificateFiles> files_;
  const Options options_;
  // On the watch's thread.
  std::string problem_;  // with the files, as told; empty: none
  ExpiryWarnings expiry_;
  SerialExecutor thread_;
};

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CERTIFICATE_WATCH_H_
