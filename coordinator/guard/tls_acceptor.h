// The server's side of TLS 1.3 with client certificates, by OpenSSL.
#ifndef TRIBUTARY_COORDINATOR_GUARD_TLS_ACCEPTOR_H_
#define TRIBUTARY_COORDINATOR_GUARD_TLS_ACCEPTOR_H_

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/tls.h"
#include "common/x509.h"
#include "proto/audit/signed_update.h"

namespace tributary::coordinator {

using SslPtr = std::unique_ptr<SSL, OpenSslDelete<SSL_free>>;

// Of a client's certificate; without one, no URIs, and valid for ever.
struct ClientCertificate {
  std::vector<std::string> uris;
  Validity validity;
  std::vector<std::string> issuers = {};  // KeyFingerprintOf of those above it in the chain that was verified, nearest first
  Certificates certificates = nullptr;    // that chain, it included
};

// What clients must show. One that asks for nothing is for those who have no certificate yet: it presents its own chain with the CA at its
// end, by which they know whom to trust.
enum class ClientProof { kCertificate, kNothing };

// TLS 1.3 alone, HTTP/2 alone (ALPN), a client certificate of the CA (unless clients have none), and no resumption: each connection shows
// its certificate, so one that was revoked or has expired opens none. Not thread-safe.
class TlsAcceptor {
 public:
  // `certificates` is asked at every Accept, on the caller's thread.
  TlsAcceptor(CertificateSource certificates, ClientProof proof) : certificates_(std::move(certificates)), proof_(proof) {}

  // Takes the pair that `certificates` has by now. Internal: OpenSSL cannot use it; the one before stays in use.
  absl::Status Refresh();
  // A server's end for a connection that was accepted, with the newest pair that can be used; the descriptor stays the caller's. Internal:
  // there is none.
  absl::StatusOr<SslPtr> Accept(int descriptor);
  // Of a connection whose handshake is over. InvalidArgument: the client did not ask for HTTP/2, did not show the certificate that it must,
  // or one whose names are longer than any of ours.
  absl::StatusOr<ClientCertificate> CertificateOf(const SSL& ssl) const;

 private:
  using ContextPtr = std::unique_ptr<SSL_CTX, OpenSslDelete<SSL_CTX_free>>;

  absl::Status MakeContext(const CertificatePair& pair);

  const CertificateSource certificates_;
  const ClientProof proof_;
  std::shared_ptr<const CertificatePair> pair_;  // that was looked at last
  ContextPtr context_;
};

// For the calling thread, if it is to use connections of OpenSSL: it writes to sockets whose other side may be gone.
void BlockSigpipe();

// Why the last operation of this thread on a connection failed, in OpenSSL's words; empties its error queue. "" if it does not say.
std::string TakeSslError();

}  // namespace tributary::coordinator

#endif  // TRIBUTARY_COORDINATOR_GUARD_TLS_ACCEPTOR_H_
