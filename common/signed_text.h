// Texts signed with the key of an identity's certificate, so that they can be checked later, offline, by anyone who has the CA.
#ifndef TRIBUTARY_COMMON_SIGNED_TEXT_H_
#define TRIBUTARY_COMMON_SIGNED_TEXT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/tls.h"

namespace tributary {

struct TextSignature {
  // ECDSA (DER) or RSA (PKCS #1) over SHA-256, or Ed25519, as the key is: what `openssl dgst -sha256 -verify` takes.
  std::string signature;
  // X.509, DER: the signer's, then those between it and the CA.
  std::vector<std::string> certificates;
};

// `text` must begin with what it is for, so that nothing signed for one thing passes for another. Unauthenticated, exit code
// kCredentials: the pair's key cannot sign.
absl::StatusOr<TextSignature> SignText(absl::string_view text, const CertificatePair& pair);

// That `signer` signed the text: the first certificate names it, and was accepted by a CA of `ca` (PEM) at the time `at`. Unauthenticated,
// exit code kCredentials, says what is wrong. At most 8 certificates of 64 KiB are looked at.
absl::Status VerifyText(absl::string_view text, const TextSignature& signature, absl::string_view ca, const Identity& signer,
                        absl::Time at);

// The two halves of it, for those who check many texts of one signer. From when to when the certificates are accepted as the signer's, with
// `at` in it; and that the key of a certificate (DER) signed the text, whoever accepts it. Errors as above.
absl::StatusOr<Validity> CheckSigner(const std::vector<std::string>& certificates, absl::string_view ca, const Identity& signer,
                                     absl::Time at);
absl::Status VerifySignature(absl::string_view text, absl::string_view signature, absl::string_view certificate);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_SIGNED_TEXT_H_
