#include "common/pki.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/clock.h"
#include "common/csr.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/names.h"
#include "common/status_macros.h"
#include "common/x509.h"

namespace tributary {
namespace {

using NamesPtr = std::unique_ptr<GENERAL_NAMES, OpenSslDelete<GENERAL_NAMES_free>>;
using NamePtr = std::unique_ptr<GENERAL_NAME, OpenSslDelete<GENERAL_NAME_free>>;

// OpenSSL's own reason, where one of its calls failed for no fault of the caller (out of memory, no random numbers).
absl::Status OpenSslError(absl::string_view doing) {
  char reason[256] = "unknown reason";
  if (const unsigned long error = ERR_get_error(); error != 0) {
    ERR_error_string_n(error, reason, sizeof(reason));
  }
  ERR_clear_error();
  return absl::InternalError(absl::StrCat("cannot ", doing, ": ", reason));
}

absl::Status CheckName(absl::string_view what, absl::string_view name) {
  if (IsName(name)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(what, " '", name, "': use 1 to 63 characters of a-z, 0-9 and inner hyphens"));
}

template <typename Write>
absl::StatusOr<std::string> ToPem(Write write) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || write(bio.get()) != 1) {
    return OpenSslError("write PEM");
  }
  const char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

absl::Status SetRandomSerial(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
    return OpenSslError("draw a serial number");
  }
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);  // positive and of full length
  const std::unique_ptr<BIGNUM, OpenSslDelete<BN_free>> number(BN_bin2bn(bytes, sizeof(bytes), nullptr));
  if (number == nullptr || BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) == nullptr) {
    return OpenSslError("set a serial number");
  }
  return absl::OkStatus();
}

absl::Status AddUri(absl::string_view uri, GENERAL_NAMES* names) {
  ASN1_IA5STRING* text = ASN1_IA5STRING_new();
  NamePtr name(GENERAL_NAME_new());
  if (text == nullptr || name == nullptr || ASN1_STRING_set(text, uri.data(), static_cast<int>(uri.size())) != 1) {
    return OpenSslError("add a name");
  }
  GENERAL_NAME_set0_value(name.get(), GEN_URI, text);
  sk_GENERAL_NAME_push(names, name.release());
  return absl::OkStatus();
}

// What is wrong with a DNS name for a certificate, and what was meant; empty if nothing is. Accepted is what clients of TLS match: letters,
// digits, hyphens, underscores, and a whole first label of * over at least two others.
std::string ProblemOfDnsName(absl::string_view name) {
  if (const size_t end = name.find("://"); end != absl::string_view::npos) {
    const absl::string_view rest = name.substr(end + 3);
    return absl::StrCat("is a URL; give its host alone: ", rest.substr(0, rest.find_first_of("/:?#")));
  }
  if (const size_t colon = name.find(':'); colon != absl::string_view::npos) {
    return absl::StrCat("is neither a DNS name nor an IP address; give no port: ", name.substr(0, colon));
  }
  if (absl::EndsWith(name, ".") && name.size() > 1) {
    return absl::StrCat("ends with a dot, which no client compares; give ", name.substr(0, name.size() - 1));
  }
  if (name.empty() || name.size() > 253) {
    return "is no DNS name: 1 to 253 characters";
  }
  const std::vector<absl::string_view> labels = absl::StrSplit(name, '.');
  if (absl::StrContains(name, '*')) {
    const bool only_first = labels[0] == "*" && !absl::StrContains(name.substr(1), '*');
    if (!only_first) {
      return "has a * that is not its whole first part, which TLS does not match; give *.example.org, or every name by itself";
    }
    if (labels.size() < 3) {
      return "is a wildcard over a top-level domain, which TLS does not match; give *.example.org, or every name by itself";
    }
  }
  for (size_t i = 0; i < labels.size(); ++i) {
    const absl::string_view label = labels[i];
    const bool is_wildcard = i == 0 && label == "*";
    const auto is_of_label = [](char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_'; };
    if (label.empty() || label.size() > 63 || label.front() == '-' || label.back() == '-' ||
        !(is_wildcard || std::all_of(label.begin(), label.end(), is_of_label))) {
      return absl::StrCat(
          "is neither a DNS name nor an IP address: between its dots go 1 to 63 letters, digits, underscores and inner "
          "hyphens (of an international name, its xn-- form)");
    }
  }
  return "";
}

absl::Status AddHost(absl::string_view host, GENERAL_NAMES* names) {
  absl::string_view bare = host;
  if (absl::ConsumePrefix(&bare, "[")) {
    absl::ConsumeSuffix(&bare, "]");
  }
  NamePtr name(GENERAL_NAME_new());
  if (name == nullptr) {
    return OpenSslError("add a name");
  }
  if (ASN1_OCTET_STRING* address = a2i_IPADDRESS(std::string(bare).c_str())) {
    GENERAL_NAME_set0_value(name.get(), GEN_IPADD, address);
  } else {
    ERR_clear_error();
    if (const std::string problem = ProblemOfDnsName(host); !problem.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("--host '", host, "' ", problem));
    }
    ASN1_IA5STRING* text = ASN1_IA5STRING_new();
    if (text == nullptr || ASN1_STRING_set(text, host.data(), static_cast<int>(host.size())) != 1) {
      return OpenSslError("add a name");
    }
    GENERAL_NAME_set0_value(name.get(), GEN_DNS, text);
  }
  sk_GENERAL_NAME_push(names, name.release());
  return absl::OkStatus();
}

// `value` in the notation of OpenSSL's configuration files; constants only.
absl::Status AddExtension(int nid, const char* value, X509* issuer, X509* certificate) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, OpenSslDelete<X509_EXTENSION_free>> extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  if (extension == nullptr || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return OpenSslError("add an extension");
  }
  return absl::OkStatus();
}

struct Extension {
  int nid;
  const char* value;
};

struct Subject {
  std::string organization;
  std::string common_name;
  NamesPtr names{GENERAL_NAMES_new()};
};

// A certificate over `key`, signed by `issuer_key`; `issuer` null: self-signed.
absl::StatusOr<X509Ptr> MakeCertificate(const Subject& subject, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key, absl::Time not_before,
                                        absl::Time not_after, absl::Span<const Extension> extensions) {
  X509Ptr certificate(X509_new());
  if (certificate == nullptr || X509_set_version(certificate.get(), X509_VERSION_3) != 1) {
    return OpenSslError("make a certificate");
  }
  TRIBUTARY_RETURN_IF_ERROR(SetRandomSerial(certificate.get()));
  X509_NAME* name = X509_get_subject_name(certificate.get());
  const auto add_entry = [&](const char* field, const std::string& value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
  };
  if (!add_entry("O", subject.organization) || !add_entry("CN", subject.common_name)) {
    return OpenSslError("name a certificate");
  }
  X509* signer = issuer == nullptr ? certificate.get() : issuer;
  if (X509_set_issuer_name(certificate.get(), X509_get_subject_name(signer)) != 1 || X509_set_pubkey(certificate.get(), key) != 1 ||
      ASN1_TIME_set(X509_getm_notBefore(certificate.get()), absl::ToTimeT(not_before)) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(certificate.get()), absl::ToTimeT(not_after)) == nullptr) {
    return OpenSslError("fill a certificate");
  }
  for (const Extension& extension : extensions) {
    TRIBUTARY_RETURN_IF_ERROR(AddExtension(extension.nid, extension.value, signer, certificate.get()));
  }
  if (X509_add1_ext_i2d(certificate.get(), NID_subject_alt_name, subject.names.get(), 0, X509V3_ADD_DEFAULT) != 1 ||
      X509_sign(certificate.get(), issuer_key, EVP_sha256()) == 0) {
    return OpenSslError("sign a certificate");
  }
  return certificate;
}

// The key first: a certificate that is there has its key.
absl::Status WritePair(const std::string& stem, absl::string_view certificate, absl::string_view key) {
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(stem + ".key", key, 0600));
  return WriteFileAtomically(stem + ".crt", certificate, 0644);
}

}  // namespace

absl::Status InitCa(const std::string& directory, const std::string& federation, absl::Duration validity) {
  TRIBUTARY_RETURN_IF_ERROR(CheckName("federation", federation));
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(directory));
  const std::string stem = directory + "/ca";
  for (const char* suffix : {".crt", ".key"}) {
    if (std::filesystem::exists(stem + suffix)) {
      return WithExitCode(
          absl::AlreadyExistsError(absl::StrCat(stem, suffix, " exists, and a CA is never overwritten; choose another folder")),
          ExitCode::kUsage);
    }
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string key_pem, MakePrivateKey());
  TRIBUTARY_ASSIGN_OR_RETURN(const KeyPtr key, ParsePrivateKey(key_pem, stem));
  Subject subject{federation, absl::StrCat(federation, " CA")};
  // The trust domain: whoever signs with it and people read from it which federation this CA is of.
  TRIBUTARY_RETURN_IF_ERROR(AddUri(absl::StrCat("spiffe://", federation), subject.names.get()));
  constexpr Extension kExtensions[] = {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                       {NID_key_usage, "critical,keyCertSign,cRLSign"},
                                       {NID_subject_key_identifier, "hash"}};
  const absl::Time now = Clock::Real().WallNow();
  TRIBUTARY_ASSIGN_OR_RETURN(const X509Ptr certificate,
                             MakeCertificate(subject, key.get(), nullptr, key.get(), now - absl::Minutes(5), now + validity, kExtensions));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string pem, ToPem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate.get()); }));
  return WritePair(stem, pem, key_pem);
}

absl::StatusOr<std::string> CertificateStem(const Identity& identity) {
  if (identity.role == Role::kCoordinator) {
    return "coordinator";
  }
  const absl::string_view role = RoleName(identity.role);
  TRIBUTARY_RETURN_IF_ERROR(CheckName(role, identity.name));
  return absl::StrCat(role, "-", identity.name);
}

absl::StatusOr<std::shared_ptr<const CertificateAuthority>> CertificateAuthority::Load(const std::string& certificate_file,
                                                                                       const std::string& key_file) {
  TRIBUTARY_ASSIGN_OR_RETURN(std::vector<X509Ptr> chain, LoadCertificates(certificate_file));
  TRIBUTARY_ASSIGN_OR_RETURN(KeyPtr key, LoadPrivateKey(key_file));
  X509* const ca = chain[0].get();
  if (X509_check_private_key(ca, key.get()) != 1) {
    return CredentialsError(absl::StrCat(key_file, " does not match ", certificate_file, "; restore the pair from a backup"));
  }
  if (X509_check_ca(ca) != 1) {
    return CredentialsError(absl::StrCat(certificate_file, " is not the certificate of a CA; name one that may sign certificates"));
  }
  std::string intermediates;
  if (X509_self_signed(ca, /*verify_signature=*/0) != 1) {
    for (const X509Ptr& certificate : chain) {
      TRIBUTARY_ASSIGN_OR_RETURN(const std::string pem, ToPem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate.get()); }));
      intermediates += pem;
    }
  }
  return std::shared_ptr<const CertificateAuthority>(
      absl::WrapUnique(new CertificateAuthority(certificate_file, std::move(chain[0]), std::move(key), std::move(intermediates))));
}

std::string CertificateAuthority::federation() const {
  const std::vector<std::string> domains = UriNames(*certificate_);
  absl::string_view federation = domains.size() == 1 ? absl::string_view(domains[0]) : "";
  return absl::ConsumePrefix(&federation, "spiffe://") && IsName(federation) ? std::string(federation) : "";
}

absl::StatusOr<std::string> CertificateAuthority::Certify(EVP_PKEY& key, const CertificateRequest& request) const {
  const Identity& identity = request.identity;
  TRIBUTARY_RETURN_IF_ERROR(CertificateStem(identity).status());
  if (identity.role == Role::kCoordinator && request.hosts.empty()) {
    return absl::InvalidArgumentError("a coordinator's certificate needs its host names or addresses: --host HOST");
  }
  const std::string own_federation = federation();
  if (!own_federation.empty() && own_federation != identity.federation) {
    return absl::InvalidArgumentError(
        absl::StrCat("the CA ", name_, " is not of the federation '", identity.federation, "' but of spiffe://", own_federation));
  }
  const absl::Time now = Clock::Real().WallNow();
  const absl::Time ca_end = TimeOf(X509_get0_notAfter(certificate_.get()));
  if (now > ca_end) {
    return CredentialsError(absl::StrCat("the CA ", name_, " expired on ", FormatDate(ca_end), "; make a new one"));
  }
  if (EVP_PKEY_eq(&key, key_.get()) == 1) {
    return absl::InvalidArgumentError("the key is the CA's own");
  }
  Subject subject{identity.federation, identity.role == Role::kCoordinator ? "coordinator" : identity.name};
  TRIBUTARY_RETURN_IF_ERROR(AddUri(SpiffeId(identity), subject.names.get()));
  for (const std::string& host : request.hosts) {
    TRIBUTARY_RETURN_IF_ERROR(AddHost(host, subject.names.get()));
  }
  const Extension extensions[] = {{NID_basic_constraints, "critical,CA:FALSE"},
                                  {NID_key_usage, "critical,digitalSignature"},
                                  {NID_ext_key_usage, identity.role == Role::kCoordinator ? "serverAuth,clientAuth" : "clientAuth"},
                                  {NID_subject_key_identifier, "hash"},
                                  {NID_authority_key_identifier, "keyid"}};
  // Never longer than the CA itself.
  const absl::Time not_after = std::min(now + request.validity, ca_end);
  const absl::Time not_before = std::max(std::min(now, not_after) - request.backdate, request.not_before);
  TRIBUTARY_ASSIGN_OR_RETURN(const X509Ptr certificate,
                             MakeCertificate(subject, &key, certificate_.get(), key_.get(), not_before, not_after, extensions));
  TRIBUTARY_ASSIGN_OR_RETURN(std::string pem, ToPem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate.get()); }));
  return pem + intermediates_;
}

absl::StatusOr<std::string> CertificateAuthority::Sign(absl::string_view csr, const CertificateRequest& request) const {
  TRIBUTARY_ASSIGN_OR_RETURN(const KeyPtr key, KeyOfCsr(csr));
  return Certify(*key, request);
}

absl::Status IssueCertificate(const std::string& directory, const CertificateRequest& request) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string stem, CertificateStem(request.identity));
  TRIBUTARY_ASSIGN_OR_RETURN(const auto ca, CertificateAuthority::Load(directory + "/ca.crt", directory + "/ca.key"));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string key, MakePrivateKey());
  TRIBUTARY_ASSIGN_OR_RETURN(const KeyPtr parsed, ParsePrivateKey(key, stem));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string certificate, ca->Certify(*parsed, request));
  return WritePair(absl::StrCat(directory, "/", stem), certificate, key);
}

absl::Status RequestCertificate(const std::string& directory, const Identity& identity) {
  TRIBUTARY_RETURN_IF_ERROR(CheckName("federation", identity.federation));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string name, CertificateStem(identity));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string key, MakePrivateKey());
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string csr, MakeCsr(key, name, identity));
  TRIBUTARY_RETURN_IF_ERROR(MakeDirectories(directory));
  const std::string stem = absl::StrCat(directory, "/", name);
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(stem + ".key", key, 0600));
  return WriteFileAtomically(stem + ".csr", csr, 0644);
}

absl::StatusOr<CertificateInfo> ReadCertificate(const std::string& path) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> chain, LoadCertificates(path));
  const X509* certificate = chain[0].get();
  CertificateInfo info;
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (bio != nullptr && X509_NAME_print_ex(bio.get(), X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0) {
    const char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    info.subject.assign(data, static_cast<size_t>(size));
  }
  const std::vector<std::string> uris = UriNames(*certificate);
  if (uris.size() == 1) {
    info.spiffe_id = uris[0];
  }
  info.not_before = TimeOf(X509_get0_notBefore(certificate));
  info.not_after = TimeOf(X509_get0_notAfter(certificate));
  return info;
}

}  // namespace tributary
