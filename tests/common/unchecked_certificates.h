// Credentials from files as they are, also from those that a program would refuse.
#ifndef TRIBUTARY_TESTS_COMMON_UNCHECKED_CERTIFICATES_H_
#define TRIBUTARY_TESTS_COMMON_UNCHECKED_CERTIFICATES_H_

#include <memory>

#include "common/files.h"
#include "common/tls.h"

namespace tributary {

inline CertificatePair ReadUnchecked(const TlsFiles& files) {
  constexpr uint64_t kMaxBytes = 1 << 20;
  return {.ca = ReadFile(files.ca, kMaxBytes).value(),
          .certificate = ReadFile(files.certificate, kMaxBytes).value(),
          .key = ReadFile(files.key, kMaxBytes).value(),
          .validity = {},
          .description = ""};
}

// The same pair for ever.
inline CertificateSource Unchecked(const TlsFiles& files) {
  return [pair = std::make_shared<const CertificatePair>(ReadUnchecked(files))] { return pair; };
}

}  // namespace tributary

#endif  // TRIBUTARY_TESTS_COMMON_UNCHECKED_CERTIFICATES_H_
