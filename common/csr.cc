#include "common/csr.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

using CsrPtr = std::unique_ptr<X509_REQ, OpenSslDelete<X509_REQ_free>>;

constexpr int kLeastRsaBits = 2048;
// A longer one costs whoever checks its signatures more than it can ever be worth.
constexpr int kMostRsaBits = 8192;
constexpr const char* kCurves[] = {"prime256v1", "secp384r1", "secp521r1"};

absl::Status Invalid(absl::string_view what) {
  ERR_clear_error();
  return absl::InvalidArgumentError(what);
}

absl::Status CheckStrength(const EVP_PKEY& key) {
  switch (EVP_PKEY_get_base_id(&key)) {
    case EVP_PKEY_ED25519:
      return absl::OkStatus();
    case EVP_PKEY_EC: {
      char curve[64] = "";
      size_t size = 0;
      // Of a curve that the key itself describes there is no name.
      EVP_PKEY_get_group_name(&key, curve, sizeof curve, &size);
      if (std::any_of(std::begin(kCurves), std::end(kCurves), [&curve](const char* name) { return std::strcmp(name, curve) == 0; })) {
        return absl::OkStatus();
      }
      return Invalid(absl::StrCat("its key is on the curve '", curve, "'; use P-256, P-384 or P-521"));
    }
    case EVP_PKEY_RSA: {
      const int bits = EVP_PKEY_get_bits(&key);
      if (bits >= kLeastRsaBits && bits <= kMostRsaBits) {
        return absl::OkStatus();
      }
      return Invalid(absl::StrCat("its RSA key has ", bits, " bits; use ", kLeastRsaBits, " to ", kMostRsaBits, ", or ECDSA P-256"));
    }
    default:
      return Invalid("its key is of a kind that is not taken; use ECDSA P-256, Ed25519 or RSA");
  }
}

template <typename Write>
absl::StatusOr<std::string> ToPem(Write write) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || write(bio.get()) != 1) {
    ERR_clear_error();
    return absl::InternalError("OpenSSL cannot write PEM");
  }
  const char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

}  // namespace

absl::StatusOr<std::string> MakePrivateKey() {
  const KeyPtr key(EVP_EC_gen("P-256"));
  if (key == nullptr) {
    ERR_clear_error();
    return absl::InternalError("OpenSSL cannot make a key");
  }
  return ToPem([&key](BIO* bio) { return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
}

absl::StatusOr<std::string> MakeCsr(absl::string_view key_pem, absl::string_view path, const Identity& identity) {
  TRIBUTARY_ASSIGN_OR_RETURN(const KeyPtr key, ParsePrivateKey(key_pem, path));
  TRIBUTARY_RETURN_IF_ERROR(Annotate(CheckStrength(*key), path));
  const CsrPtr csr(X509_REQ_new());
  const std::string name = identity.role == Role::kCoordinator ? "coordinator" : identity.name;
  const auto add_entry = [&csr](const char* field, const std::string& value) {
    return X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(csr.get()), field, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(value.data()), static_cast<int>(value.size()), -1, 0) == 1;
  };
  // Ed25519 has its own digest.
  const EVP_MD* const digest = EVP_PKEY_get_base_id(key.get()) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
  if (csr == nullptr || !add_entry("O", identity.federation) || !add_entry("CN", name) || X509_REQ_set_pubkey(csr.get(), key.get()) != 1 ||
      X509_REQ_sign(csr.get(), key.get(), digest) == 0) {
    ERR_clear_error();
    return absl::InternalError("OpenSSL cannot make a request for a certificate");
  }
  return ToPem([&csr](BIO* bio) { return PEM_write_bio_X509_REQ(bio, csr.get()); });
}

absl::StatusOr<KeyPtr> KeyOfCsr(absl::string_view pem) {
  if (pem.size() > kMaxCsrBytes) {
    return Invalid(absl::StrCat("the request for a certificate has ", pem.size(), " bytes; at most ", kMaxCsrBytes, " are read"));
  }
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const CsrPtr csr(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
  if (csr == nullptr) {
    return Invalid("it is no request for a certificate in PEM; it must hold one '-----BEGIN CERTIFICATE REQUEST-----' block");
  }
  KeyPtr key(X509_REQ_get_pubkey(csr.get()));
  if (key == nullptr) {
    return Invalid("its key cannot be read");
  }
  // Before the signature is checked: what that costs depends on the key.
  TRIBUTARY_RETURN_IF_ERROR(CheckStrength(*key));
  if (X509_REQ_verify(csr.get(), key.get()) != 1) {
    return Invalid("its signature is not of its own key: it was altered, or made by somebody who does not have the private key");
  }
  return key;
}

absl::StatusOr<std::string> KeyFingerprint(const EVP_PKEY& key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(&key, &der);
  if (size <= 0) {
    return Invalid("the key cannot be written");
  }
  const std::string digest = DigestHex(Sha256(absl::string_view(reinterpret_cast<const char*>(der), static_cast<size_t>(size))));
  OPENSSL_free(der);
  return digest;
}

absl::StatusOr<std::string> KeyFingerprint(absl::string_view key_pem, absl::string_view path) {
  TRIBUTARY_ASSIGN_OR_RETURN(const KeyPtr key, ParsePrivateKey(key_pem, path));
  return KeyFingerprint(*key);
}

}  // namespace tributary
