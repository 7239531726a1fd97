// Requests for a certificate (PKCS #10): made where the key is, and what is believed of one that arrives from elsewhere.
#ifndef TRIBUTARY_COMMON_CSR_H_
#define TRIBUTARY_COMMON_CSR_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/tls.h"
#include "common/x509.h"

namespace tributary {

// Longer ones are refused unread: one over the largest RSA key that is taken has 2 kB.
inline constexpr size_t kMaxCsrBytes = 16 << 10;

// A new private key (ECDSA P-256), PEM without a passphrase.
absl::StatusOr<std::string> MakePrivateKey();

// A request over `key` (PEM; `path` for messages), PEM. It names `identity` for people to read: who issues decides what the certificate
// says. InvalidArgument: a key of a kind that nobody signs. Errors besides as ParsePrivateKey's.
absl::StatusOr<std::string> MakeCsr(absl::string_view key, absl::string_view path, const Identity& identity);

// The public key of the request `csr` (PEM). Whoever made the request has the private one: its signature is checked. Of all else that it
// asks for (names, usages, a CA's powers), nothing is read. InvalidArgument: no request, too long, altered, or a key that is none of
// ECDSA P-256, P-384, P-521, Ed25519, and RSA of 2048 to 8192 bits.
absl::StatusOr<KeyPtr> KeyOfCsr(absl::string_view csr);

// SHA-256 of the public half, 64 hexadecimal digits: what people compare, and what a token is bound to.
absl::StatusOr<std::string> KeyFingerprint(const EVP_PKEY& key);
// Of a private key in PEM. Errors as ParsePrivateKey's.
absl::StatusOr<std::string> KeyFingerprint(absl::string_view key, absl::string_view path);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_CSR_H_
