#include "common/x509.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <ctime>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checksum.h"
#include "common/excerpt.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

constexpr uint64_t kMaxPemBytes = 1 << 20;

BioPtr ReadOnlyBio(absl::string_view bytes) {
  return BioPtr(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

// Without this OpenSSL would ask on the terminal.
int NoPassphrase(char*, int, int, void*) {
  return -1;
}

// What `print` writes.
template <typename Print>
std::string Printed(Print print) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr) {
    return "";
  }
  print(bio.get());
  const char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

std::string NameText(const X509_NAME* name) {
  return Printed([name](BIO* bio) { X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253); });
}

}  // namespace

absl::StatusOr<std::string> ReadPem(const std::string& path) {
  absl::StatusOr<std::string> pem = ReadFile(path, kMaxPemBytes);
  if (!pem.ok()) {
    return CredentialsError(pem.status().message());
  }
  return pem;
}

absl::Status CredentialsError(absl::string_view message) {
  ERR_clear_error();
  return WithExitCode(absl::UnauthenticatedError(message), ExitCode::kCredentials);
}

absl::StatusOr<std::vector<X509Ptr>> LoadCertificates(const std::string& path) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string pem, ReadPem(path));
  return ParseCertificates(pem, path);
}

absl::StatusOr<KeyPtr> LoadPrivateKey(const std::string& path) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string pem, ReadPem(path));
  return ParsePrivateKey(pem, path);
}

absl::StatusOr<std::vector<X509Ptr>> ParseCertificates(absl::string_view pem, absl::string_view path) {
  const BioPtr bio = ReadOnlyBio(pem);
  std::vector<X509Ptr> certificates;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr)) {
    certificates.emplace_back(certificate);
  }
  const bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (certificates.empty() || !ended) {
    return CredentialsError(
        absl::StrCat(path, " is not a PEM certificate (or a damaged one); it must hold '-----BEGIN CERTIFICATE-----' blocks only"));
  }
  ERR_clear_error();
  return certificates;
}

absl::StatusOr<KeyPtr> ParsePrivateKey(absl::string_view pem, absl::string_view path) {
  const BioPtr bio = ReadOnlyBio(pem);
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) {
    const bool encrypted = absl::StrContains(pem, "ENCRYPTED");
    return CredentialsError(
        encrypted
            ? absl::StrCat(path,
                           " is protected by a passphrase, which a service cannot type; store it without one, readable by this user only")
            : absl::StrCat(path, " is not a PEM private key; it must hold one '-----BEGIN PRIVATE KEY-----' block"));
  }
  ERR_clear_error();
  return key;
}

std::vector<std::string> UriNames(const X509& certificate) {
  std::vector<std::string> uris;
  const std::unique_ptr<GENERAL_NAMES, OpenSslDelete<GENERAL_NAMES_free>> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) {
      continue;
    }
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)), static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  return uris;
}

std::string DescribeCertificate(const X509& certificate) {
  const std::unique_ptr<GENERAL_NAMES, OpenSslDelete<GENERAL_NAMES_free>> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> hosts;
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    hosts.push_back(Printed([&](BIO* bio) { GENERAL_NAME_print(bio, sk_GENERAL_NAME_value(names.get(), i)); }));
  }
  ERR_clear_error();
  // Names and dates are what people look for: a long subject must not push them out.
  return absl::StrCat("'", Excerpt(NameText(X509_get_subject_name(&certificate))), "' for ",
                      hosts.empty() ? "no host" : Excerpt(absl::StrJoin(hosts, ", ")), ", issued by '",
                      Excerpt(NameText(X509_get_issuer_name(&certificate))), "', valid until ",
                      FormatDate(TimeOf(X509_get0_notAfter(&certificate))));
}

std::string DerOf(const X509& certificate) {
  std::string der(static_cast<size_t>(i2d_X509(&certificate, nullptr)), '\0');
  auto* out = reinterpret_cast<unsigned char*>(der.data());
  i2d_X509(&certificate, &out);
  return der;
}

std::string FingerprintOf(const X509& certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  X509_digest(&certificate, EVP_sha256(), digest, &size);
  return std::string(reinterpret_cast<const char*>(digest), size);
}

std::string KeyFingerprintOf(const X509& certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(&certificate), &der);
  const Digest digest = Sha256(absl::string_view(reinterpret_cast<const char*>(der), static_cast<size_t>(std::max(size, 0))));
  OPENSSL_free(der);
  return DigestBytes(digest);
}

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) {
    return absl::InfinitePast();
  }
  return absl::FromTM(parts, absl::UTCTimeZone());
}

std::string FormatDate(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M UTC", time, absl::UTCTimeZone());
}

}  // namespace tributary
