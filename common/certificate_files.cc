#include "common/certificate_files.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "common/x509.h"

namespace tributary {
namespace {

using StorePtr = std::unique_ptr<X509_STORE, OpenSslDelete<X509_STORE_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, OpenSslDelete<X509_STORE_CTX_free>>;
using StackPtr = std::unique_ptr<STACK_OF(X509), decltype([](STACK_OF(X509) * stack) { sk_X509_free(stack); })>;

// "issue a new one: tributary pki issue DIR --site berlin".
std::string IssueAdvice(const Identity& identity) {
  const std::string who =
      identity.role == Role::kCoordinator ? "--coordinator --host HOST" : absl::StrCat("--", RoleName(identity.role), " ", identity.name);
  return absl::StrCat("issue a new one: tributary pki issue DIR ", who, " (or ask whoever runs your CA)");
}

absl::Status CheckValidity(const X509& certificate, absl::string_view path, absl::string_view advice, absl::Time now) {
  const absl::Time not_before = TimeOf(X509_get0_notBefore(&certificate));
  const absl::Time not_after = TimeOf(X509_get0_notAfter(&certificate));
  if (now > not_after) {
    return CredentialsError(absl::StrCat(path, " expired on ", FormatDate(not_after), "; ", advice));
  }
  if (now < not_before) {
    return CredentialsError(absl::StrCat(path, " is not valid before ", FormatDate(not_before), ", but this machine's clock says ",
                                         FormatDate(now), "; check the clock"));
  }
  return absl::OkStatus();
}

absl::Status CheckIdentity(const X509& certificate, absl::string_view path, const Identity& expected) {
  const std::vector<std::string> uris = UriNames(certificate);
  const std::string wanted = SpiffeId(expected);
  if (uris.size() == 1 && uris[0] == wanted) {
    return absl::OkStatus();
  }
  const std::string found = uris.empty() ? "no SPIFFE id" : absl::StrCat(uris.size() > 1 ? "several ids: " : "", absl::StrJoin(uris, ", "));
  return CredentialsError(
      absl::StrCat(path, " names ", found, ", but ", wanted, " is needed; correct the configuration, or ", IssueAdvice(expected)));
}

// When the first certificate of the chain that was verified ends: from then on nobody accepts it.
absl::Time EndOf(X509_STORE_CTX* verified) {
  absl::Time end = absl::InfiniteFuture();
  const STACK_OF(X509)* const chain = X509_STORE_CTX_get0_chain(verified);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    end = std::min(end, TimeOf(X509_get0_notAfter(sk_X509_value(chain, i))));
  }
  return end;
}

// `chain` is the certificate with the intermediates that follow it in its file. Returns when it stops being accepted.
absl::StatusOr<absl::Time> CheckChain(const std::vector<X509Ptr>& chain, const std::vector<X509Ptr>& roots, const TlsFiles& files,
                                      const Identity& expected, absl::Time now) {
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
    return CredentialsError(absl::StrCat("cannot check ", files.certificate, " against ", files.ca));
  }
  X509_STORE_CTX_set_purpose(context.get(), expected.role == Role::kCoordinator ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
  X509_STORE_CTX_set_time(context.get(), 0, absl::ToTimeT(now));
  if (X509_verify_cert(context.get()) == 1) {
    return EndOf(context.get());
  }

  switch (const int error = X509_STORE_CTX_get_error(context.get())) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return CheckValidity(*X509_STORE_CTX_get_current_cert(context.get()),
                           absl::StrCat("a CA certificate in the chain of ", files.certificate), "renew the CA", now);
    case X509_V_ERR_INVALID_PURPOSE:
      return CredentialsError(absl::StrCat(files.certificate, " may not be used as a TLS ",
                                           expected.role == Role::kCoordinator ? "server" : "client", " (its extended key usage); ",
                                           IssueAdvice(expected)));
    default:
      return CredentialsError(absl::StrCat(files.certificate, " is not signed by the CA in ", files.ca, " (",
                                           X509_verify_cert_error_string(error), "); use the CA of this federation, or ",
                                           IssueAdvice(expected)));
  }
}

bool SameBytes(const CertificatePair& a, const CertificatePair& b) {
  return a.ca == b.ca && a.certificate == b.certificate && a.key == b.key;
}

// As they are; nothing is checked.
absl::StatusOr<CertificatePair> ReadPair(const TlsFiles& files) {
  CertificatePair pair;
  TRIBUTARY_ASSIGN_OR_RETURN(pair.ca, ReadPem(files.ca));
  TRIBUTARY_ASSIGN_OR_RETURN(pair.certificate, ReadPem(files.certificate));
  TRIBUTARY_ASSIGN_OR_RETURN(pair.key, ReadPem(files.key));
  return pair;
}

// Checks what was read from `files`, and fills in what the certificate says.
absl::Status CheckPair(const TlsFiles& files, const Identity& owner, CertificatePair& pair) {
  const absl::Time now = Clock::Real().WallNow();
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> roots, ParseCertificates(pair.ca, files.ca));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> chain, ParseCertificates(pair.certificate, files.certificate));
  TRIBUTARY_ASSIGN_OR_RETURN(const KeyPtr key, ParsePrivateKey(pair.key, files.key));
  const X509& leaf = *chain[0];
  if (X509_check_private_key(&leaf, key.get()) != 1) {
    return CredentialsError(
        absl::StrCat(files.key, " does not match ", files.certificate, "; use the pair that was issued together, or ", IssueAdvice(owner)));
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckValidity(leaf, files.certificate, IssueAdvice(owner), now));
  TRIBUTARY_ASSIGN_OR_RETURN(pair.validity.end, CheckChain(chain, roots, files, owner, now));
  TRIBUTARY_RETURN_IF_ERROR(CheckIdentity(leaf, files.certificate, owner));
  pair.validity.begin = TimeOf(X509_get0_notBefore(&leaf));
  pair.description = DescribeCertificate(leaf);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CertificatePair> LoadCertificatePair(const TlsFiles& files, const Identity& owner) {
  TRIBUTARY_ASSIGN_OR_RETURN(CertificatePair pair, ReadPair(files));
  TRIBUTARY_RETURN_IF_ERROR(CheckPair(files, owner, pair));
  return pair;
}

CertificateFiles::CertificateFiles(TlsFiles files, Identity owner, CertificatePair pair)
    : owner_(std::move(owner)), files_(std::move(files)), current_(std::make_shared<const CertificatePair>(std::move(pair))) {}

absl::StatusOr<std::shared_ptr<CertificateFiles>> CertificateFiles::Open(const TlsFiles& files, const Identity& owner) {
  TRIBUTARY_ASSIGN_OR_RETURN(CertificatePair pair, LoadCertificatePair(files, owner));
  return std::shared_ptr<CertificateFiles>(absl::WrapUnique(new CertificateFiles(files, owner, std::move(pair))));
}

std::shared_ptr<const CertificatePair> CertificateFiles::current() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return current_;
}

TlsFiles CertificateFiles::files() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return files_;
}

absl::StatusOr<bool> CertificateFiles::Refresh() {
  return MoveTo(files());
}

absl::StatusOr<bool> CertificateFiles::MoveTo(const TlsFiles& files) {
  TRIBUTARY_ASSIGN_OR_RETURN(CertificatePair pair, ReadPair(files));
  if (SameBytes(pair, *current())) {
    // Also when they have expired in service: then nothing else is better.
    const std::lock_guard<std::mutex> lock(mutex_);
    files_ = files;
    return false;
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckPair(files, owner_, pair));
  const std::lock_guard<std::mutex> lock(mutex_);
  files_ = files;
  current_ = std::make_shared<const CertificatePair>(std::move(pair));
  return true;
}

}  // namespace tributary
