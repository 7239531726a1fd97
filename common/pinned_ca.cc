#include "common/pinned_ca.h"

#include <openssl/pem.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/tls_probe.h"
#include "common/x509.h"

namespace tributary {
namespace {

using StorePtr = std::unique_ptr<X509_STORE, OpenSslDelete<X509_STORE_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, OpenSslDelete<X509_STORE_CTX_free>>;
using StackPtr = std::unique_ptr<STACK_OF(X509), decltype([](STACK_OF(X509) * stack) { sk_X509_free(stack); })>;

Digest DigestOf(const X509& certificate) {
  const std::string bytes = FingerprintOf(certificate);
  Digest digest{};
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

// The fingerprint of the root at which the chain ends.
absl::StatusOr<Digest> Anchor(absl::string_view chain_pem, absl::string_view path, absl::string_view roots_pem) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> chain, ParseCertificates(chain_pem, path));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> roots, ParseCertificates(roots_pem, "the CA"));
  const StorePtr store(X509_STORE_new());
  for (const X509Ptr& root : roots) {
    X509_STORE_add_cert(store.get(), root.get());
  }
  const StackPtr intermediates(sk_X509_new_null());
  for (size_t i = 1; i < chain.size(); ++i) {
    sk_X509_push(intermediates.get(), chain[i].get());
  }
  const StoreContextPtr context(X509_STORE_CTX_new());
  if (X509_STORE_CTX_init(context.get(), store.get(), chain[0].get(), intermediates.get()) != 1 || X509_verify_cert(context.get()) != 1) {
    return CredentialsError(
        absl::StrCat(path, " is not vouched for: ", X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()))));
  }
  const STACK_OF(X509)* const verified = X509_STORE_CTX_get0_chain(context.get());
  return DigestOf(*sk_X509_value(verified, sk_X509_num(verified) - 1));
}

}  // namespace

absl::StatusOr<Digest> AnchorFingerprint(const CertificatePair& pair) {
  return Anchor(pair.certificate, "the coordinator's certificate", pair.ca);
}

absl::Status CheckVouchedFor(absl::string_view chain, absl::string_view path, absl::string_view roots) {
  return Anchor(chain, path, roots).status();
}

absl::StatusOr<PinnedCoordinator> AskForPinnedCoordinator(const std::string& host_port, const Route& route, const Digest& ca,
                                                          absl::Duration timeout) {
  TRIBUTARY_ASSIGN_OR_RETURN(const PresentedCertificate presented, AskForCertificate(host_port, route, "", timeout));
  PinnedCoordinator coordinator;
  for (const X509Ptr& certificate : presented.chain) {
    if (DigestOf(*certificate) != ca) {
      continue;
    }
    const BioPtr bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(bio.get(), certificate.get());
    const char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    coordinator.ca.assign(data, static_cast<size_t>(size));
  }
  if (coordinator.ca.empty()) {
    return CredentialsError(
        absl::StrCat("the server at ", host_port, " is not the coordinator that the token is from: it presents ", presented.description,
                     ", and not the CA that the token names (", DigestHex(ca).substr(0, 16),
                     "...); the token was not sent. Check the address (`enrol_listen` of the coordinator, not `listen`), "
                     "and who answers there (a proxy that opens TLS, a login page of the network)"));
  }
  const std::vector<std::string> uris = UriNames(*presented.chain[0]);
  const absl::StatusOr<Identity> identity = ParseSpiffeId(uris.size() == 1 ? uris[0] : "");
  if (!identity.ok() || identity->role != Role::kCoordinator) {
    return CredentialsError(absl::StrCat("the server at ", host_port, " is no coordinator: it presents ", presented.description));
  }
  coordinator.federation = identity->federation;
  return coordinator;
}

}  // namespace tributary
