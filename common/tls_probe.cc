#include "common/tls_probe.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/x509.h"

namespace tributary {
namespace {

using ContextPtr = std::unique_ptr<SSL_CTX, OpenSslDelete<SSL_CTX_free>>;

constexpr int kNapMilliseconds = 50;

absl::Status NoCertificate(const std::string& host_port) {
  ERR_clear_error();
  return absl::UnavailableError(absl::StrCat("no certificate came from ", host_port));
}

// A name, where the server may have several certificates to choose from.
bool IsName(const std::string& host) {
  const std::unique_ptr<ASN1_OCTET_STRING, OpenSslDelete<ASN1_OCTET_STRING_free>> address(a2i_IPADDRESS(host.c_str()));
  return address == nullptr;
}

}  // namespace

absl::StatusOr<PresentedCertificate> AskForCertificate(const std::string& host_port, absl::string_view ca, absl::Duration timeout) {
  const ContextPtr context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr) {
    return NoCertificate(host_port);
  }
  if (const absl::StatusOr<std::vector<X509Ptr>> roots = ParseCertificates(ca, "the CA"); roots.ok()) {
    for (const X509Ptr& root : *roots) {
      X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), root.get());
    }
  }
  // The verdict is kept, and does not end the handshake.
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  SSL_CTX_set_alpn_protos(context.get(), reinterpret_cast<const unsigned char*>("\x02h2"), 3);
  const BioPtr bio(BIO_new_ssl_connect(context.get()));
  SSL* ssl = nullptr;
  if (bio == nullptr || BIO_get_ssl(bio.get(), &ssl) != 1 || ssl == nullptr) {
    return NoCertificate(host_port);
  }
  BIO_set_conn_hostname(bio.get(), host_port.c_str());
  if (const std::string host = host_port.substr(0, host_port.rfind(':')); !host.empty() && host.front() != '[' && IsName(host)) {
    SSL_set_tlsext_host_name(ssl, host.c_str());
  }
  BIO_do_connect_retry(bio.get(), static_cast<int>(absl::ToInt64Seconds(timeout)), kNapMilliseconds);
  const X509Ptr certificate(SSL_get1_peer_certificate(ssl));
  if (certificate == nullptr) {
    return NoCertificate(host_port);
  }
  PresentedCertificate presented;
  presented.description = DescribeCertificate(*certificate);
  if (const long verdict = SSL_get_verify_result(ssl); verdict != X509_V_OK) {
    presented.objection = X509_verify_cert_error_string(verdict);
  }
  ERR_clear_error();
  return presented;
}

}  // namespace tributary
