#include "common/signed_text.h"

#include <openssl/err.h>

#include <algorithm>
#include <cstdint>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/x509.h"

namespace tributary {
namespace {

constexpr size_t kMaxCertificates = 8;
constexpr size_t kMaxCertificateBytes = 64 << 10;

using StorePtr = std::unique_ptr<X509_STORE, OpenSslDelete<X509_STORE_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, OpenSslDelete<X509_STORE_CTX_free>>;
using StackPtr = std::unique_ptr<STACK_OF(X509), decltype([](STACK_OF(X509) * stack) { sk_X509_free(stack); })>;
using DigestPtr = std::unique_ptr<EVP_MD_CTX, OpenSslDelete<EVP_MD_CTX_free>>;

const unsigned char* Bytes(absl::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// Ed25519 and Ed448 hash for themselves.
const EVP_MD* HashFor(EVP_PKEY* key) {
  const int type = EVP_PKEY_get_base_id(key);
  return type == EVP_PKEY_ED25519 || type == EVP_PKEY_ED448 ? nullptr : EVP_sha256();
}

absl::StatusOr<X509Ptr> Parse(absl::string_view der) {
  const unsigned char* next = Bytes(der);
  X509Ptr certificate(der.size() > kMaxCertificateBytes ? nullptr : d2i_X509(nullptr, &next, static_cast<long>(der.size())));
  if (certificate == nullptr) {
    return CredentialsError("what it comes with is not a certificate");
  }
  return certificate;
}

absl::StatusOr<std::vector<X509Ptr>> ParseAll(const std::vector<std::string>& certificates) {
  if (certificates.empty() || certificates.size() > kMaxCertificates) {
    return CredentialsError(absl::StrCat("it comes with ", certificates.size(), " certificates"));
  }
  std::vector<X509Ptr> parsed;
  for (const std::string& der : certificates) {
    TRIBUTARY_ASSIGN_OR_RETURN(parsed.emplace_back(), Parse(der));
  }
  return parsed;
}

absl::Status CheckChain(const std::vector<X509Ptr>& chain, absl::string_view ca, const Identity& signer, absl::Time at) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> roots, ParseCertificates(ca, "the CA"));
  const StorePtr store(X509_STORE_new());
  for (const X509Ptr& root : roots) {
    X509_STORE_add_cert(store.get(), root.get());
  }
  const StackPtr intermediates(sk_X509_new_null());
  for (size_t i = 1; i < chain.size(); ++i) {
    sk_X509_push(intermediates.get(), chain[i].get());
  }
  const StoreContextPtr context(X509_STORE_CTX_new());
  if (X509_STORE_CTX_init(context.get(), store.get(), chain[0].get(), intermediates.get()) != 1) {
    return CredentialsError("its certificate cannot be checked");
  }
  // A CA that is trusted may itself be issued by one that is not, as in TLS here.
  X509_STORE_CTX_set_flags(context.get(), X509_V_FLAG_PARTIAL_CHAIN);
  X509_STORE_CTX_set_purpose(context.get(), signer.role == Role::kCoordinator ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
  X509_STORE_CTX_set_time(context.get(), 0, absl::ToTimeT(at));
  if (X509_verify_cert(context.get()) != 1) {
    return CredentialsError(absl::StrCat("its certificate, ", DescribeCertificate(*chain[0]), ", was not accepted by the CA on ",
                                         FormatDate(at), ": ", X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()))));
  }
  const std::vector<std::string> names = UriNames(*chain[0]);
  if (names.size() != 1 || names[0] != SpiffeId(signer)) {
    return CredentialsError(absl::StrCat("its certificate, ", DescribeCertificate(*chain[0]), ", is not that of ", SpiffeId(signer)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TextSignature> SignText(absl::string_view text, const CertificatePair& pair) {
  TRIBUTARY_ASSIGN_OR_RETURN(const KeyPtr key, ParsePrivateKey(pair.key, "the key"));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> chain, ParseCertificates(pair.certificate, "the certificate"));
  const DigestPtr context(EVP_MD_CTX_new());
  size_t length = 0;
  TextSignature signature;
  const bool begun = EVP_DigestSignInit(context.get(), nullptr, HashFor(key.get()), nullptr, key.get()) == 1 &&
                     EVP_DigestSign(context.get(), nullptr, &length, Bytes(text), text.size()) == 1;
  if (begun) {
    signature.signature.resize(length);
  }
  if (!begun ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.signature.data()), &length, Bytes(text), text.size()) != 1) {
    return CredentialsError("the certificate's key cannot sign");
  }
  signature.signature.resize(length);
  for (const X509Ptr& certificate : chain) {
    signature.certificates.push_back(DerOf(*certificate));
  }
  return signature;
}

absl::Status VerifyText(absl::string_view text, const TextSignature& signature, absl::string_view ca, const Identity& signer,
                        absl::Time at) {
  TRIBUTARY_RETURN_IF_ERROR(CheckSigner(signature.certificates, ca, signer, at).status());
  return VerifySignature(text, signature.signature, signature.certificates[0]);
}

absl::StatusOr<Validity> CheckSigner(const std::vector<std::string>& certificates, absl::string_view ca, const Identity& signer,
                                     absl::Time at) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> chain, ParseAll(certificates));
  TRIBUTARY_RETURN_IF_ERROR(CheckChain(chain, ca, signer, at));
  Validity validity = {TimeOf(X509_get0_notBefore(chain[0].get())), TimeOf(X509_get0_notAfter(chain[0].get()))};
  for (const X509Ptr& certificate : chain) {
    validity.end = std::min(validity.end, TimeOf(X509_get0_notAfter(certificate.get())));
  }
  return validity;
}

absl::Status VerifySignature(absl::string_view text, absl::string_view signature, absl::string_view certificate) {
  TRIBUTARY_ASSIGN_OR_RETURN(const X509Ptr signer, Parse(certificate));
  EVP_PKEY* const key = X509_get0_pubkey(signer.get());
  const DigestPtr context(EVP_MD_CTX_new());
  if (key == nullptr || EVP_DigestVerifyInit(context.get(), nullptr, HashFor(key), nullptr, key) != 1 ||
      EVP_DigestVerify(context.get(), Bytes(signature), signature.size(), Bytes(text), text.size()) != 1) {
    const std::vector<std::string> names = UriNames(*signer);
    return CredentialsError(absl::StrCat("its signature is not that of ", names.empty() ? DescribeCertificate(*signer) : names[0]));
  }
  return absl::OkStatus();
}

}  // namespace tributary
