#include "coordinator/guard/tls_acceptor.h"

#include <openssl/err.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace tributary::coordinator {
namespace {

constexpr uint8_t kAlpn[] = {2, 'h', '2'};
// Several records at a time: a system call for each header and each body would cost more than the decryption.
constexpr size_t kReadBuffer = 64 << 10;
// Of a certificate's URIs: they are kept and logged for each connection, and any CA that is trusted may have written them.
constexpr size_t kMostNames = 1024;

absl::Status Failed(absl::string_view what) {
  return absl::InternalError(absl::StrCat("OpenSSL cannot ", what, ": ", TakeSslError()));
}

int SelectAlpn(SSL*, const unsigned char** chosen, unsigned char* chosen_size, const unsigned char* offered, unsigned int offered_size,
               void*) {
  unsigned char* match = nullptr;
  if (SSL_select_next_proto(&match, chosen_size, kAlpn, sizeof kAlpn, offered, offered_size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = match;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

void BlockSigpipe() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

std::string TakeSslError() {
  const unsigned long error = ERR_peek_last_error();  // NOLINT(google-runtime-int): OpenSSL's type
  ERR_clear_error();
  const char* const reason = error == 0 ? nullptr : ERR_reason_error_string(error);
  return reason == nullptr ? "" : reason;
}

absl::Status TlsAcceptor::MakeContext(const CertificatePair& pair) {
  ContextPtr context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr || SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) != 1) {
    return Failed("speak TLS 1.3");
  }
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> chain, ParseCertificates(pair.certificate, "the certificate"));
  TRIBUTARY_ASSIGN_OR_RETURN(const KeyPtr key, ParsePrivateKey(pair.key, "the key"));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> roots, ParseCertificates(pair.ca, "the CA"));
  if (SSL_CTX_use_certificate(context.get(), chain[0].get()) != 1 || SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1) {
    return Failed("use the certificate");
  }
  for (size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) != 1) {
      return Failed("use the certificate's chain");
    }
  }
  for (const X509Ptr& root : roots) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), root.get()) != 1 ||
        SSL_CTX_add_client_CA(context.get(), root.get()) != 1) {
      return Failed("use the CA");
    }
  }
  if (proof_ == ClientProof::kCertificate) {
    // A CA that is trusted may itself be issued by one that is not: a hospital's, by a country's.
    X509_STORE_set_flags(SSL_CTX_get_cert_store(context.get()), X509_V_FLAG_PARTIAL_CHAIN);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  } else if (SSL_CTX_build_cert_chain(context.get(), SSL_BUILD_CHAIN_FLAG_UNTRUSTED) != 1) {
    return Failed("build the certificate's chain up to its CA");
  }
  SSL_CTX_set_alpn_select_cb(context.get(), SelectAlpn, nullptr);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(context.get(), 1);
  SSL_CTX_set_default_read_buffer_len(context.get(), kReadBuffer);
  context_ = std::move(context);
  return absl::OkStatus();
}

absl::Status TlsAcceptor::Refresh() {
  std::shared_ptr<const CertificatePair> pair = certificates_();
  if (pair == pair_) {
    return absl::OkStatus();
  }
  pair_ = std::move(pair);
  return MakeContext(*pair_);
}

absl::StatusOr<SslPtr> TlsAcceptor::Accept(int descriptor) {
  if (const absl::Status status = Refresh(); !status.ok()) {
    LogError("guard", "the new certificate cannot be used, and the one before stays in use: ", status.message(), "; issue another");
  }
  if (context_ == nullptr) {
    return absl::InternalError("no certificate can be used");
  }
  SslPtr ssl(SSL_new(context_.get()));
  if (ssl == nullptr || SSL_set_fd(ssl.get(), descriptor) != 1) {
    return Failed("make a connection");
  }
  SSL_set_accept_state(ssl.get());
  return ssl;
}

absl::StatusOr<ClientCertificate> TlsAcceptor::CertificateOf(const SSL& ssl) const {
  const unsigned char* protocol = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(&ssl, &protocol, &size);
  if (size + 1 != sizeof kAlpn || std::memcmp(protocol, kAlpn + 1, size) != 0) {
    return absl::InvalidArgumentError("the client did not ask for HTTP/2");
  }
  if (proof_ == ClientProof::kNothing) {
    return ClientCertificate{{}, {absl::InfinitePast(), absl::InfiniteFuture()}};
  }
  const X509Ptr certificate(SSL_get1_peer_certificate(&ssl));
  if (certificate == nullptr) {
    return absl::InvalidArgumentError("the client has no certificate");
  }
  Validity validity = {TimeOf(X509_get0_notBefore(certificate.get())), TimeOf(X509_get0_notAfter(certificate.get()))};
  std::vector<std::string> issuers;
  auto certificates = std::make_shared<std::vector<std::string>>();
  const STACK_OF(X509)* const chain = SSL_get0_verified_chain(&ssl);
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    validity.end = std::min(validity.end, TimeOf(X509_get0_notAfter(sk_X509_value(chain, i))));
    certificates->push_back(DerOf(*sk_X509_value(chain, i)));
    if (i > 0) {
      issuers.push_back(KeyFingerprintOf(*sk_X509_value(chain, i)));
    }
  }
  ClientCertificate client = {UriNames(*certificate), validity, std::move(issuers), std::move(certificates)};
  size_t length = 0;
  for (const std::string& uri : client.uris) {
    length += uri.size();
  }
  if (length > kMostNames) {
    return absl::InvalidArgumentError(absl::StrCat("its certificate has ", length, " bytes of names; at most ", kMostNames, " are read"));
  }
  return client;
}

}  // namespace tributary::coordinator
