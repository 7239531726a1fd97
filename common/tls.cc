#include "common/tls.h"

#include <arpa/inet.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/server_context.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/clock.h"
#include "common/exit_codes.h"
#include "common/names.h"
#include "common/status_macros.h"
#include "common/x509.h"

namespace tributary {
namespace {

constexpr absl::string_view kScheme = "spiffe://";
constexpr unsigned kRefreshSeconds = 1;

using StorePtr = std::unique_ptr<X509_STORE, OpenSslDelete<X509_STORE_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, OpenSslDelete<X509_STORE_CTX_free>>;
using StackPtr = std::unique_ptr<STACK_OF(X509), decltype([](STACK_OF(X509) * stack) { sk_X509_free(stack); })>;

// "issue a new one: tributary pki issue DIR --site berlin".
std::string IssueAdvice(const Identity& identity) {
  std::string who = "--coordinator --host HOST";
  if (identity.role == Role::kSite) {
    who = absl::StrCat("--site ", identity.name);
  }
  if (identity.role == Role::kOperator) {
    who = absl::StrCat("--operator ", identity.name);
  }
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

// `chain` is the certificate with the intermediates that follow it in its file.
absl::Status CheckChain(const std::vector<X509Ptr>& chain, const std::vector<X509Ptr>& roots, const TlsFiles& files,
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
    return absl::OkStatus();
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

// A server must be reached by a name in its certificate and be this federation's coordinator: a site's certificate, issued by the
// same CA, must not do for a server.
class CoordinatorVerifier final : public grpc::experimental::ExternalCertificateVerifier {
 public:
  explicit CoordinatorVerifier(std::string coordinator_id) : coordinator_id_(std::move(coordinator_id)) {}

  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)> callback,
              grpc::Status* sync_status) override {
    host_verifier_.Verify(request, std::move(callback), sync_status);  // always synchronous
    const auto uris = request->uri_names();
    if (sync_status->ok() && (uris.size() != 1 || absl::string_view(uris[0].data(), uris[0].size()) != coordinator_id_)) {
      *sync_status = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, absl::StrCat("the server is not ", coordinator_id_));
    }
    return true;
  }

  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest*) override {}

 private:
  const std::string coordinator_id_;
  grpc::experimental::HostNameCertificateVerifier host_verifier_;
};

constexpr absl::string_view kAnyHandshakeFailure =
    "check that both sides use the CA of this federation, that the coordinator's certificate names this host, and both clocks";

// A certificate that is refused will be refused again: it takes a person, not another attempt. Words in lower case, and several of
// them: a single one may be part of a host's name.
struct TlsFailure {
  absl::string_view words;
  bool final;
  absl::string_view text;
};
constexpr TlsFailure kTlsFailures[] = {
    {"certificate verify failed", true,
     "the coordinator's certificate is not trusted here: it has expired, or was issued by a CA other than the one in tls.ca; get the CA "
     "file from the operator of the federation, or have the coordinator's certificate renewed"},
    {"verification check failed", true,
     "the certificate does not belong to this federation's coordinator at this host name; set `coordinator` to the name in the "
     "certificate"},
    {"certificate unknown", true,
     "the coordinator does not trust the certificate used here; ask the operator of the federation for one issued by its CA"},
    {"unknown ca", true,
     "the coordinator does not trust the CA of the certificate used here; ask the operator of the federation for one issued by its CA"},
    {"bad certificate", true,
     "the coordinator does not accept the certificate used here; ask the operator of the federation for one issued by its CA"},
    {"certificate expired", true,
     "the coordinator says that the certificate used here has expired; renew it, and check this machine's clock"},
    {"certificate required", true, "the coordinator requires a certificate and got none; check tls.certificate"},
    {"wrong version number", false,
     "whatever answers at this address does not speak TLS; check the port, and whether the coordinator runs with --insecure"},
    {" handshake failed", false, kAnyHandshakeFailure},
    {"handshake read failed", false, kAnyHandshakeFailure},
    {"handshake write failed", false, kAnyHandshakeFailure},
};

// The id a coordinator must have for whoever owns the certificate at `path`; what no certificate can have if that cannot be read.
std::string CoordinatorIdFor(const std::string& path) {
  const absl::StatusOr<std::vector<X509Ptr>> chain = LoadCertificates(path);
  if (!chain.ok()) {
    return "";
  }
  const std::vector<std::string> uris = UriNames(*(*chain)[0]);
  if (uris.size() != 1) {
    return "";
  }
  const absl::StatusOr<Identity> own = ParseSpiffeId(uris[0]);
  return own.ok() ? SpiffeId({own->federation, Role::kCoordinator, ""}) : "";
}

std::shared_ptr<grpc::experimental::FileWatcherCertificateProvider> Watch(const TlsFiles& files) {
  return std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(files.key, files.certificate, files.ca, kRefreshSeconds);
}

}  // namespace

absl::StatusOr<Identity> ParseSpiffeId(absl::string_view uri) {
  const auto invalid = [&] {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", uri, "' is not spiffe://FEDERATION/coordinator, spiffe://FEDERATION/site/NAME or spiffe://FEDERATION/operator/NAME"));
  };
  absl::string_view rest = uri;
  if (!absl::ConsumePrefix(&rest, kScheme)) {
    return invalid();
  }
  const size_t slash = rest.find('/');
  if (slash == absl::string_view::npos) {
    return invalid();
  }
  Identity identity;
  identity.federation = std::string(rest.substr(0, slash));
  absl::string_view path = rest.substr(slash + 1);
  if (!IsName(identity.federation)) {
    return invalid();
  }
  if (path == "coordinator") {
    identity.role = Role::kCoordinator;
    return identity;
  }
  if (absl::ConsumePrefix(&path, "site/")) {
    identity.role = Role::kSite;
  } else if (absl::ConsumePrefix(&path, "operator/")) {
    identity.role = Role::kOperator;
  } else {
    return invalid();
  }
  if (!IsName(path)) {
    return invalid();
  }
  identity.name = std::string(path);
  return identity;
}

std::string SpiffeId(const Identity& identity) {
  switch (identity.role) {
    case Role::kCoordinator:
      return absl::StrCat(kScheme, identity.federation, "/coordinator");
    case Role::kSite:
      return absl::StrCat(kScheme, identity.federation, "/site/", identity.name);
    case Role::kOperator:
      return absl::StrCat(kScheme, identity.federation, "/operator/", identity.name);
  }
  return "";
}

void RequireTls13() {
  // gRPC 1.51 has no option for the lowest version. This list governs TLS 1.2 and below alone (TLS 1.3 suites are configured apart), and
  // its only suite needs a pre-shared key that nobody has: no handshake below 1.3 can find a common suite.
  setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES256-GCM-SHA384", /*overwrite=*/1);
}

absl::Status CheckTlsFiles(const TlsFiles& files, const Identity& expected) {
  const absl::Time now = Clock::Real().WallNow();
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> roots, LoadCertificates(files.ca));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<X509Ptr> chain, LoadCertificates(files.certificate));
  TRIBUTARY_ASSIGN_OR_RETURN(const KeyPtr key, LoadPrivateKey(files.key));
  if (X509_check_private_key(chain[0].get(), key.get()) != 1) {
    return CredentialsError(absl::StrCat(files.key, " does not match ", files.certificate, "; use the pair that was issued together, or ",
                                         IssueAdvice(expected)));
  }
  TRIBUTARY_RETURN_IF_ERROR(CheckValidity(*chain[0], files.certificate, IssueAdvice(expected), now));
  TRIBUTARY_RETURN_IF_ERROR(CheckChain(chain, roots, files, expected, now));
  return CheckIdentity(*chain[0], files.certificate, expected);
}

absl::Status ExplainTlsFailure(const absl::Status& status) {
  if (!absl::IsUnavailable(status) && !absl::IsUnknown(status)) {
    return status;
  }
  std::string words = absl::AsciiStrToLower(status.message());
  std::replace(words.begin(), words.end(), '_', ' ');
  for (const TlsFailure& failure : kTlsFailures) {
    if (!absl::StrContains(words, failure.words)) {
      continue;
    }
    const std::string message = absl::StrCat("the TLS handshake failed: ", failure.text, " (", status.message(), ")");
    return failure.final ? CredentialsError(message) : absl::UnavailableError(message);
  }
  // In TLS 1.3 a server judges the client's certificate when the client believes to be connected: this is all that can be seen of a
  // refusal.
  if (absl::StrContains(words, "failed to connect") && absl::StrContains(words, "socket closed")) {
    return absl::UnavailableError(
        absl::StrCat(status.message(), "; if this persists, the coordinator may not trust the CA of the certificate used here"));
  }
  return status;
}

std::string KeyExposure(const std::string& key) {
  struct stat info;
  // Of the group nothing is said: secrets are mounted readable for it.
  if (stat(key.c_str(), &info) != 0 || (info.st_mode & S_IROTH) == 0) {
    return "";
  }
  return absl::StrCat("the private key ", key, " can be read by every user of this machine; run: chmod 600 ", key,
                      ", and replace it if anyone else may have read it");
}

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsFiles& files) {
  grpc::experimental::TlsServerCredentialsOptions options(Watch(files));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(const TlsFiles& files) {
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(Watch(files));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(true);
  options.set_certificate_verifier(
      grpc::experimental::ExternalCertificateVerifier::Create<CoordinatorVerifier>(CoordinatorIdFor(files.certificate)));
  return grpc::experimental::TlsCredentials(options);
}

std::shared_ptr<grpc::ServerCredentials> MakeInsecureServerCredentials() {
  return grpc::InsecureServerCredentials();
}

std::shared_ptr<grpc::ChannelCredentials> MakeInsecureChannelCredentials() {
  return grpc::InsecureChannelCredentials();
}

absl::StatusOr<Identity> PeerIdentity(const grpc::ServerContextBase& context, absl::string_view federation, Transport transport) {
  const bool insecure = transport == Transport::kPlaintext;
  std::vector<std::string> uris;
  if (insecure) {
    const auto [begin, end] = context.client_metadata().equal_range(kInsecureIdentityKey);
    for (auto it = begin; it != end; ++it) {
      uris.emplace_back(it->second.data(), it->second.size());
    }
  } else {
    const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
    if (auth == nullptr || !auth->IsPeerAuthenticated()) {
      return absl::UnauthenticatedError("no client certificate");
    }
    for (const grpc::string_ref& uri : auth->FindPropertyValues("peer_uri")) {
      uris.emplace_back(uri.data(), uri.size());
    }
  }
  if (uris.size() != 1) {
    return absl::UnauthenticatedError(
        absl::StrCat(insecure ? "the metadata " : "the certificate ", "has ", uris.size(), " SPIFFE ids; exactly one is needed"));
  }
  absl::StatusOr<Identity> identity = ParseSpiffeId(uris[0]);
  if (!identity.ok()) {
    return absl::UnauthenticatedError(identity.status().message());
  }
  if (identity->federation != federation) {
    return absl::UnauthenticatedError(absl::StrCat(uris[0], " does not belong to federation ", federation));
  }
  return identity;
}

absl::Status CheckInsecureAddress(absl::string_view host_port) {
  absl::string_view host = host_port.substr(0, host_port.rfind(':'));
  in_addr address;
  const bool is_loopback = host == "localhost" || host == "[::1]" ||
                           (inet_pton(AF_INET, std::string(host).c_str(), &address) == 1 && ntohl(address.s_addr) >> 24 == 127);
  if (is_loopback) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--insecure sends everything unencrypted and believes any identity, so it is limited to loopback addresses, and ",
                   host_port, " is not one; configure `tls`, or add --insecure-anywhere on a network that is yours alone"));
}

}  // namespace tributary
