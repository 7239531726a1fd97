#include "common/tls_probe.h"

#include <openssl/err.h>
#include <openssl/http.h>
#include <openssl/ssl.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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

// A connection to `host_port` through the proxy; null: none is to be had.
BioPtr Tunnel(const std::string& host_port, const HttpProxy& proxy, int seconds) {
  BioPtr connection(BIO_new_connect(proxy.address.c_str()));
  if (connection == nullptr || BIO_do_connect_retry(connection.get(), seconds, kNapMilliseconds) != 1) {
    return nullptr;
  }
  const size_t colon = host_port.rfind(':');
  const std::pair<std::string, std::string> user = absl::StrSplit(proxy.credentials, absl::MaxSplits(':', 1));
  const bool named = !proxy.credentials.empty();
  const int made = OSSL_HTTP_proxy_connect(connection.get(), host_port.substr(0, colon).c_str(), host_port.substr(colon + 1).c_str(),
                                           named ? user.first.c_str() : nullptr, named ? user.second.c_str() : nullptr, seconds,
                                           /*bio_err=*/nullptr, /*prog=*/nullptr);
  return made == 1 ? std::move(connection) : nullptr;
}

}  // namespace

absl::StatusOr<PresentedCertificate> AskForCertificate(const std::string& host_port, const Route& route, absl::string_view ca,
                                                       absl::Duration timeout) {
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
  const int seconds = static_cast<int>(absl::ToInt64Seconds(timeout));
  BioPtr bio;
  if (route.proxy.has_value()) {
    BioPtr tunnel = Tunnel(host_port, *route.proxy, seconds);
    if (tunnel == nullptr) {
      return NoCertificate(host_port);
    }
    bio.reset(BIO_new_ssl(context.get(), /*client=*/1));
    BIO_push(bio.get(), tunnel.release());
  } else {
    bio.reset(BIO_new_ssl_connect(context.get()));
    BIO_set_conn_hostname(bio.get(), host_port.c_str());
  }
  SSL* ssl = nullptr;
  if (bio == nullptr || BIO_get_ssl(bio.get(), &ssl) != 1 || ssl == nullptr) {
    return NoCertificate(host_port);
  }
  if (const std::string host = host_port.substr(0, host_port.rfind(':')); !host.empty() && host.front() != '[' && IsName(host)) {
    SSL_set_tlsext_host_name(ssl, host.c_str());
  }
  BIO_do_connect_retry(bio.get(), seconds, kNapMilliseconds);
  const X509Ptr certificate(SSL_get1_peer_certificate(ssl));
  if (certificate == nullptr) {
    return NoCertificate(host_port);
  }
  PresentedCertificate presented;
  presented.description = DescribeCertificate(*certificate);
  if (const long verdict = SSL_get_verify_result(ssl); verdict != X509_V_OK) {
    presented.objection = X509_verify_cert_error_string(verdict);
  }
  const STACK_OF(X509)* const chain = SSL_get_peer_cert_chain(ssl);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    presented.chain.emplace_back(X509_dup(sk_X509_value(chain, i)));
  }
  if (presented.chain.empty()) {
    return NoCertificate(host_port);
  }
  ERR_clear_error();
  return presented;
}

}  // namespace tributary
