// OpenSSL's certificate objects with owners, and what the certificate code of this folder and of coordinator/guard
// reads from them. Not for others.
#ifndef TRIBUTARY_COMMON_X509_H_
#define TRIBUTARY_COMMON_X509_H_

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tributary {

// Owns an OpenSSL object of type T.
template <auto Free>
struct OpenSslDelete {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using BioPtr = std::unique_ptr<BIO, OpenSslDelete<BIO_free_all>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, OpenSslDelete<EVP_PKEY_free>>;
using X509Ptr = std::unique_ptr<X509, OpenSslDelete<X509_free>>;

// A PEM file as it is. Errors of this and the next: they name the path, say what to do, and carry exit code kCredentials.
absl::StatusOr<std::string> ReadPem(const std::string& path);

// Every certificate in PEM, in order; at least one. `path`: for messages.
absl::StatusOr<std::vector<X509Ptr>> ParseCertificates(absl::string_view pem, absl::string_view path);
absl::StatusOr<std::vector<X509Ptr>> LoadCertificates(const std::string& path);

// The private key in PEM. Never asks for a passphrase.
absl::StatusOr<KeyPtr> ParsePrivateKey(absl::string_view pem, absl::string_view path);
absl::StatusOr<KeyPtr> LoadPrivateKey(const std::string& path);

// The URI subject alternative names.
std::vector<std::string> UriNames(const X509& certificate);

// For people: "'CN=coordinator,O=demo' for DNS:localhost, IP Address:127.0.0.1, URI:spiffe://demo/coordinator, issued by 'CN=demo
// CA,O=demo', valid until 2026-01-31 12:00 UTC". One line, bounded, also of a certificate that anybody made.
std::string DescribeCertificate(const X509& certificate);

// The certificate as it is, and the SHA-256 of that.
std::string DerOf(const X509& certificate);
std::string FingerprintOf(const X509& certificate);
// SHA-256 of its SubjectPublicKeyInfo (RFC 5280): the same for every certificate of a key.
std::string KeyFingerprintOf(const X509& certificate);

absl::Time TimeOf(const ASN1_TIME* time);

// "2026-01-31 12:00 UTC".
std::string FormatDate(absl::Time time);

// An error of credentials: Unauthenticated with exit code kCredentials. Empties OpenSSL's error queue of this thread, which gRPC's TLS
// would otherwise take for its own.
absl::Status CredentialsError(absl::string_view message);

}  // namespace tributary

#endif  // TRIBUTARY_COMMON_X509_H_
