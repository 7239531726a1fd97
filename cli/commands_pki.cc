// `tributary pki`: a small CA for trials and small federations.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/commands.h"
#include "common/csr.h"
#include "common/exit_codes.h"
#include "common/files.h"
#include "common/pki.h"
#include "common/status_macros.h"

namespace tributary::cli {
namespace {

struct PkiOptions {
  std::string directory;
  std::string federation;
  uint32_t days = 0;
  bool coordinator = false;
  std::vector<std::string> hosts;
  std::string site;
  std::string operator_name;
  std::string auditor;
  std::string csr;
  std::string output;
  bool force = false;
};

absl::Duration DaysOf(uint32_t days) {
  return absl::Hours(24) * days;
}

// Who is meant; of `federation`.
Identity IdentityOf(const PkiOptions& options, const std::string& federation) {
  if (!options.site.empty()) {
    return {federation, Role::kSite, options.site};
  }
  if (!options.operator_name.empty()) {
    return {federation, Role::kOperator, options.operator_name};
  }
  if (!options.auditor.empty()) {
    return {federation, Role::kAuditor, options.auditor};
  }
  return {federation, Role::kCoordinator, ""};
}

// What is to be made must not be there, unless it is to be replaced. `what` is replaced, for the message.
absl::Status CheckNew(const std::string& file, const PkiOptions& options, absl::string_view what) {
  // A name that no file can have is for whoever writes it to refuse.
  std::error_code unknown;
  if (options.force || !std::filesystem::exists(file, unknown)) {
    return absl::OkStatus();
  }
  return WithExitCode(absl::AlreadyExistsError(absl::StrCat(file, " already exists; add --force to replace ", what)), ExitCode::kUsage);
}

// Names what was made: a certificate, and its key, if that is here.
absl::Status ShowCertificate(const Session& session, const std::string& certificate, const std::string& key) {
  TRIBUTARY_ASSIGN_OR_RETURN(const CertificateInfo info, ReadCertificate(certificate));
  const std::string expires = absl::FormatTime(absl::RFC3339_sec, info.not_after, absl::UTCTimeZone());
  std::ostream& out = *session.environment.out;
  if (session.json()) {
    nlohmann::ordered_json json = {{"certificate", certificate}};
    if (!key.empty()) {
      json["key"] = key;
    }
    json["spiffe_id"] = info.spiffe_id;
    json["expires"] = expires;
    out << json.dump() << "\n";
    return absl::OkStatus();
  }
  out << certificate << "  " << info.spiffe_id << ", valid until " << expires << "\n";
  if (!key.empty()) {
    out << key << "  keep it secret\n";
  }
  return absl::OkStatus();
}

absl::Status ShowPair(const Session& session, const std::string& stem) {
  return ShowCertificate(session, stem + ".crt", stem + ".key");
}

absl::Status Init(const Session& session, const PkiOptions& options) {
  TRIBUTARY_RETURN_IF_ERROR(InitCa(options.directory, options.federation, DaysOf(options.days)));
  return ShowPair(session, options.directory + "/ca");
}

// The CA in the folder knows which federation it is of.
absl::StatusOr<std::string> FederationOf(const PkiOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(const CertificateInfo ca, ReadCertificate(options.directory + "/ca.crt"));
  absl::string_view federation = ca.spiffe_id;
  if (!absl::ConsumePrefix(&federation, "spiffe://")) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.directory, "/ca.crt was not made by `tributary pki init`: use the tools of the CA that made it"));
  }
  return std::string(federation);
}

absl::Status Issue(const Session& session, const PkiOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string federation, FederationOf(options));
  const CertificateRequest request{.identity = IdentityOf(options, federation), .hosts = options.hosts, .validity = DaysOf(options.days)};
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string name, CertificateStem(request.identity));
  const std::string stem = absl::StrCat(options.directory, "/", name);
  for (const char* const suffix : {".key", ".crt"}) {
    TRIBUTARY_RETURN_IF_ERROR(CheckNew(stem + suffix, options, "certificate and key together"));
  }
  TRIBUTARY_RETURN_IF_ERROR(IssueCertificate(options.directory, request));
  return ShowPair(session, stem);
}

absl::Status Request(const Session& session, const PkiOptions& options) {
  const Identity identity = IdentityOf(options, options.federation);
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string name, CertificateStem(identity));
  const std::string stem = absl::StrCat(options.directory, "/", name);
  for (const char* const suffix : {".key", ".csr"}) {
    TRIBUTARY_RETURN_IF_ERROR(CheckNew(stem + suffix, options, "key and request together"));
  }
  TRIBUTARY_RETURN_IF_ERROR(RequestCertificate(options.directory, identity));
  if (session.json()) {
    const nlohmann::ordered_json json = {{"request", stem + ".csr"}, {"key", stem + ".key"}, {"spiffe_id", SpiffeId(identity)}};
    *session.environment.out << json.dump() << "\n";
  } else {
    *session.environment.out << stem << ".csr  for " << SpiffeId(identity) << ": send it to whoever runs the federation's CA\n"
                             << stem << ".key  keep it secret; it stays on this machine\n";
  }
  return absl::OkStatus();
}

absl::Status Sign(const Session& session, const PkiOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string federation, FederationOf(options));
  const CertificateRequest request{.identity = IdentityOf(options, federation), .hosts = options.hosts, .validity = DaysOf(options.days)};
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string name, CertificateStem(request.identity));
  const std::string output = options.output.empty() ? absl::StrCat(options.directory, "/", name, ".crt") : options.output;
  TRIBUTARY_RETURN_IF_ERROR(CheckNew(output, options, "it"));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string csr, ReadFile(options.csr, kMaxCsrBytes));
  TRIBUTARY_ASSIGN_OR_RETURN(const auto ca, CertificateAuthority::Load(options.directory + "/ca.crt", options.directory + "/ca.key"));
  absl::StatusOr<std::string> certificate = ca->Sign(csr, request);
  TRIBUTARY_RETURN_IF_ERROR(Annotate(certificate.status(), options.csr));
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(output, *certificate, 0644));
  return ShowCertificate(session, output, "");
}

// Of whom the certificate is.
void AddWho(CLI::App* command, PkiOptions* options) {
  CLI::Option_group* const who = command->add_option_group("Who", "one of");
  who->add_flag("--coordinator", options->coordinator, "for the coordinator");
  who->add_option("--site", options->site, "for the site of this name");
  who->add_option("--operator", options->operator_name, "for the operator of this name");
  who->add_option("--auditor", options->auditor, "for the auditor of this name, who may look and change nothing");
  who->require_option(1);
}

void AddHostsAndDays(CLI::App* command, PkiOptions* options) {
  options->days = 30;
  command->add_option("--host", options->hosts,
                      "DNS name (also *.example.org) or IP address of the coordinator, which needs one; may be repeated");
  command->add_option("--days", options->days, "days until it expires")->check(CLI::Range(1, 36500))->capture_default_str();
}

}  // namespace

void AddPkiCommands(CLI::App* app, Session* session) {
  CLI::App* pki = app->add_subcommand("pki", "Run a small certificate authority, and request certificates");
  pki->require_subcommand(1);

  CLI::App* init = pki->add_subcommand("init", "Create ca.crt and ca.key in DIR");
  const auto init_options = std::make_shared<PkiOptions>();
  init_options->days = 3650;
  init->add_option("DIR", init_options->directory, "folder; created if it does not exist")->required();
  init->add_option("--federation", init_options->federation, "name of the federation")->required();
  init->add_option("--days", init_options->days, "days until it expires")->check(CLI::Range(1, 36500))->capture_default_str();
  init->callback([session, init_options] { session->action = [session, init_options] { return Init(*session, *init_options); }; });

  CLI::App* issue = pki->add_subcommand("issue", "Issue a certificate and its key from the CA in DIR");
  const auto issue_options = std::make_shared<PkiOptions>();
  issue->add_option("DIR", issue_options->directory, "folder that `pki init` created")->required();
  AddWho(issue, issue_options.get());
  issue->add_flag("--force", issue_options->force, "replace an existing pair");
  AddHostsAndDays(issue, issue_options.get());
  issue->callback([session, issue_options] { session->action = [session, issue_options] { return Issue(*session, *issue_options); }; });

  CLI::App* request = pki->add_subcommand("request", "Make a key that stays here, and a request for a certificate (CSR) over it");
  const auto request_options = std::make_shared<PkiOptions>();
  request->add_option("DIR", request_options->directory, "folder for both; created if it does not exist")->required();
  request->add_option("--federation", request_options->federation, "name of the federation")->required();
  AddWho(request, request_options.get());
  request->add_flag("--force", request_options->force, "replace an existing key");
  request->callback(
      [session, request_options] { session->action = [session, request_options] { return Request(*session, *request_options); }; });

  CLI::App* sign = pki->add_subcommand("sign", "Sign a request for a certificate (CSR) that another machine made, with the CA in DIR");
  const auto sign_options = std::make_shared<PkiOptions>();
  sign->add_option("DIR", sign_options->directory, "folder that `pki init` created")->required();
  sign->add_option("CSR", sign_options->csr, "the request (PEM); of what it asks for, only the key is taken")->required();
  AddWho(sign, sign_options.get());
  sign->add_option("--output", sign_options->output, "file for the certificate (default: in DIR, named after whom it is for)");
  sign->add_flag("--force", sign_options->force, "replace an existing certificate");
  AddHostsAndDays(sign, sign_options.get());
  sign->callback([session, sign_options] { session->action = [session, sign_options] { return Sign(*session, *sign_options); }; });
}

}  // namespace tributary::cli
