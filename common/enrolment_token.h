// The token with which a site gets its first certificate: one line of text that an operator hands to the site's engineer.
#ifndef TRIBUTARY_COMMON_ENROLMENT_TOKEN_H_
#define TRIBUTARY_COMMON_ENROLMENT_TOKEN_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/checksum.h"

namespace tributary {

inline constexpr size_t kTokenSecretBytes = 32;

struct EnrolmentToken {
  // kTokenSecretBytes that nobody can guess. Whoever has them gets a certificate.
  std::string secret;
  // SHA-256 of the certificate (DER) of the CA that vouches for the coordinator: so that the secret is told to nobody else.
  Digest ca{};
};

// With a secret from the system's source of randomness. Internal: there is none.
absl::StatusOr<EnrolmentToken> MakeEnrolmentToken(const Digest& ca);

// "tributary-" and 86 characters of A-Z, a-z, 0-9, - and _.
std::string FormatToken(const EnrolmentToken& token);
// InvalidArgument: not such a text. Blanks around it do not matter.
absl::StatusOr<EnrolmentToken> ParseToken(absl::string_view text);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_ENROLMENT_TOKEN_H_
