#include "common/tls.h"

#include <arpa/inet.h>
#include <grpcpp/security/credentials.h>
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
#include "absl/strings/strip.h"
#include "common/excerpt.h"
#include "common/exit_codes.h"
#include "common/names.h"
#include "common/tls_probe.h"
#include "common/x509.h"

namespace tributary {
namespace {

constexpr absl::string_view kScheme = "spiffe://";

// A server must be reached by a name in its certificate and be this federation's coordinator: a site's certificate, issued by the
// same CA, must not do for a server.
class CoordinatorVerifier final : public grpc::experimental::ExternalCertificateVerifier {
 public:
  explicit CoordinatorVerifier(std::string coordinator_id) : coordinator_id_(std::move(coordinator_id)) {}

  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)> callback,
              grpc::Status* sync_status) override {
    host_verifier_.Verify(request, std::move(callback), sync_status);  // always synchronous
    const auto refuse = [&](absl::string_view why) {
      *sync_status = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, absl::StrCat(why, "; presented was ", Presented(*request)));
    };
    const auto uris = request->uri_names();
    if (!sync_status->ok()) {
      refuse(absl::StrCat("the certificate does not name ", ViewOf(request->target_name())));
    } else if (uris.size() != 1 || ViewOf(uris[0]) != coordinator_id_) {
      refuse(absl::StrCat("the server is not ", coordinator_id_));
    }
    return true;
  }

  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest*) override {}

 private:
  static absl::string_view ViewOf(grpc::string_ref text) { return {text.data(), text.size()}; }
  static std::string Presented(const grpc::experimental::TlsCustomVerificationCheckRequest& request) {
    const absl::StatusOr<std::vector<X509Ptr>> chain = ParseCertificates(ViewOf(request.peer_cert()), "the server's certificate");
    return chain.ok() ? DescribeCertificate(*chain->front()) : "a certificate that cannot be read";
  }

  const std::string coordinator_id_;
  grpc::experimental::HostNameCertificateVerifier host_verifier_;
};

constexpr absl::string_view kAnyHandshakeFailure =
    "check that both sides use the CA of this federation, that the coordinator's certificate names this host, and both clocks";

// Whose certificate was refused by whom.
enum class Refusal { kOfServer, kOfClient, kNone };

// Words in lower case, and several of them: a single one may be part of a host's name.
struct TlsFailure {
  absl::string_view words;
  Refusal refusal;
  absl::string_view text;
};
constexpr TlsFailure kTlsFailures[] = {
    {"certificate verify failed", Refusal::kOfServer,
     "the server's certificate is not trusted here; if it is the coordinator's, get the CA file from the operator of the federation, or "
     "have "
     "the certificate renewed; if it is not, find out who answers in the coordinator's place (a proxy, a login page of the network)"},
    {"verification check failed", Refusal::kOfServer,
     "the server's certificate is not that of this federation's coordinator at this name; set `coordinator` to a name in the certificate, "
     "or "
     "find out who answers in the coordinator's place"},
    {"certificate unknown", Refusal::kOfClient,
     "the coordinator does not trust the certificate used here; ask the operator of the federation for one issued by its CA"},
    {"unknown ca", Refusal::kOfClient,
     "the coordinator does not trust the CA of the certificate used here; ask the operator of the federation for one issued by its CA"},
    {"bad certificate", Refusal::kOfClient,
     "the coordinator does not accept the certificate used here; ask the operator of the federation for one issued by its CA"},
    {"certificate expired", Refusal::kOfClient,
     "the coordinator says that the certificate used here has expired; renew it, and check this machine's clock"},
    {"certificate required", Refusal::kOfClient, "the coordinator requires a certificate and got none; check tls.certificate"},
    {"wrong version number", Refusal::kNone,
     "whatever answers at this address does not speak TLS; check the port, and whether the coordinator runs with --insecure"},
    {" handshake failed", Refusal::kNone, kAnyHandshakeFailure},
    {"handshake read failed", Refusal::kNone, kAnyHandshakeFailure},
    {"handshake write failed", Refusal::kNone, kAnyHandshakeFailure},
};

// What the certificate that was refused says, as far as it can be found out; else empty.
std::string Refused(Refusal refusal, const absl::Status& status, const std::string& address, const Route& route,
                    const CertificatePair& own) {
  if (refusal == Refusal::kOfClient && !own.description.empty()) {
    return absl::StrCat(". Refused is ", own.description);
  }
  // Our own verifier has said it already.
  if (refusal != Refusal::kOfServer || absl::StrContains(status.message(), "presented was")) {
    return "";
  }
  const absl::StatusOr<PresentedCertificate> presented = AskForCertificate(address, route, own.ca, kProbeTimeout);
  if (!presented.ok()) {
    return "";
  }
  if (presented->objection.empty()) {
    return absl::StrCat(". Asked again, it presents ", presented->description, ", of the CA trusted here: it has changed");
  }
  return absl::StrCat(". It presents ", presented->description, ": ", presented->objection);
}

// The id a coordinator must have for whoever owns the certificate; what no certificate can have if that cannot be read.
std::string CoordinatorIdFor(const CertificatePair& own) {
  const absl::StatusOr<std::vector<X509Ptr>> chain = ParseCertificates(own.certificate, "the certificate");
  if (!chain.ok()) {
    return "";
  }
  const std::vector<std::string> uris = UriNames(*(*chain)[0]);
  if (uris.size() != 1) {
    return "";
  }
  const absl::StatusOr<Identity> owner = ParseSpiffeId(uris[0]);
  return owner.ok() ? SpiffeId({owner->federation, Role::kCoordinator, ""}) : "";
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsFor(const std::string& coordinator_id,
                                                         grpc::experimental::TlsChannelCredentialsOptions& options) {
  options.watch_root_certs();
  options.set_verify_server_certs(true);
  options.set_certificate_verifier(grpc::experimental::ExternalCertificateVerifier::Create<CoordinatorVerifier>(coordinator_id));
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace

absl::StatusOr<Identity> ParseSpiffeId(absl::string_view uri) {
  const auto invalid = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("'", Excerpt(uri),
                     "' is not spiffe://FEDERATION/coordinator or spiffe://FEDERATION/ROLE/NAME with site, operator or auditor as ROLE"));
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
  } else if (absl::ConsumePrefix(&path, "auditor/")) {
    identity.role = Role::kAuditor;
  } else {
    return invalid();
  }
  if (!IsName(path)) {
    return invalid();
  }
  identity.name = std::string(path);
  return identity;
}

absl::string_view RoleName(Role role) {
  switch (role) {
    case Role::kCoordinator:
      return "coordinator";
    case Role::kSite:
      return "site";
    case Role::kOperator:
      return "operator";
    case Role::kAuditor:
      return "auditor";
  }
  return "";
}

std::string SpiffeId(const Identity& identity) {
  return absl::StrCat(kScheme, identity.federation, "/", RoleName(identity.role), identity.role == Role::kCoordinator ? "" : "/",
                      identity.name);
}

void RequireTls13() {
  // gRPC 1.51 has no option for the lowest version. This list governs TLS 1.2 and below alone (TLS 1.3 suites are configured apart), and
  // its only suite needs a pre-shared key that nobody has: no handshake below 1.3 can find a common suite.
  setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES256-GCM-SHA384", /*overwrite=*/1);
}

absl::Status ExplainTlsFailure(const absl::Status& status, const std::string& address, const Route& route, const CertificatePair& own) {
  if (!absl::IsUnavailable(status) && !absl::IsUnknown(status)) {
    return status;
  }
  std::string words = absl::AsciiStrToLower(status.message());
  std::replace(words.begin(), words.end(), '_', ' ');
  for (const TlsFailure& failure : kTlsFailures) {
    if (!absl::StrContains(words, failure.words)) {
      continue;
    }
    const std::string message = absl::StrCat("the TLS handshake failed: ", failure.text,
                                             Refused(failure.refusal, status, address, route, own), " (", status.message(), ")");
    return failure.refusal == Refusal::kNone ? absl::UnavailableError(message) : CredentialsError(message);
  }
  // In TLS 1.3 a server judges the client's certificate when the client believes to be connected: this is all that can be seen of a
  // refusal.
  if (absl::StrContains(words, "endpoint read failed") ||
      (absl::StrContains(words, "failed to connect") && absl::StrContains(words, "socket closed"))) {
    return absl::UnavailableError(absl::StrCat(status.message(),
                                               "; if this persists, the coordinator may not trust the CA of the certificate used here",
                                               own.description.empty() ? "" : absl::StrCat(": ", own.description)));
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

std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(const CertificatePair& pair) {
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
      pair.ca, std::vector<grpc::experimental::IdentityKeyCertPair>{{pair.key, pair.certificate}}));
  options.watch_identity_key_cert_pairs();
  return CredentialsFor(CoordinatorIdFor(pair), options);
}

std::shared_ptr<grpc::ChannelCredentials> MakeEnrolmentCredentials(const std::string& ca, const std::string& federation) {
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(std::make_shared<grpc::experimental::StaticDataCertificateProvider>(ca));
  return CredentialsFor(SpiffeId({federation, Role::kCoordinator, ""}), options);
}

std::shared_ptr<grpc::ChannelCredentials> MakeInsecureChannelCredentials() {
  return grpc::InsecureChannelCredentials();
}

absl::StatusOr<Identity> IdentityOf(const std::vector<std::string>& uris, absl::string_view what, absl::string_view federation) {
  if (uris.size() != 1) {
    return absl::UnauthenticatedError(absl::StrCat(what, " has ", uris.size(), " SPIFFE ids; exactly one is needed"));
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

absl::StatusOr<Identity> ClaimedIdentity(const grpc::ServerContextBase& context, absl::string_view federation) {
  std::vector<std::string> uris;
  const auto [begin, end] = context.client_metadata().equal_range(kInsecureIdentityKey);
  for (auto it = begin; it != end; ++it) {
    uris.emplace_back(it->second.data(), it->second.size());
  }
  return IdentityOf(uris, "the metadata", federation);
}

absl::Status CheckInsecureAddress(absl::string_view host_port) {
  if (IsLoopback(host_port)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--insecure sends everything unencrypted and believes any identity, so it is limited to loopback addresses, and ",
                   host_port, " is not one; configure `tls`, or add --insecure-anywhere on a network that is yours alone"));
}

}  // namespace tributary
