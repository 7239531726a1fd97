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
#include "common/exit_codes.h"
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
  bool force = false;
};

absl::Duration DaysOf(uint32_t days) {
  return absl::Hours(24) * days;
}

// Names the pair of files that was made.
absl::Status ShowPair(const Session& session, const std::string& stem) {
  TRIBUTARY_ASSIGN_OR_RETURN(const CertificateInfo info, ReadCertificate(stem + ".crt"));
  const std::string expires = absl::FormatTime(absl::RFC3339_sec, info.not_after, absl::UTCTimeZone());
  if (session.json()) {
    const nlohmann::ordered_json json = {
        {"certificate", stem + ".crt"}, {"key", stem + ".key"}, {"spiffe_id", info.spiffe_id}, {"expires", expires}};
    *session.environment.out << json.dump() << "\n";
  } else {
    *session.environment.out << stem << ".crt  " << info.spiffe_id << ", valid until " << expires << "\n"
                             << stem << ".key  keep it secret\n";
  }
  return absl::OkStatus();
}

absl::Status Init(const Session& session, const PkiOptions& options) {
  TRIBUTARY_RETURN_IF_ERROR(InitCa(options.directory, options.federation, DaysOf(options.days)));
  return ShowPair(session, options.directory + "/ca");
}

absl::Status Issue(const Session& session, const PkiOptions& options) {
  // The CA knows which federation it is of.
  TRIBUTARY_ASSIGN_OR_RETURN(const CertificateInfo ca, ReadCertificate(options.directory + "/ca.crt"));
  absl::string_view federation = ca.spiffe_id;
  if (!absl::ConsumePrefix(&federation, "spiffe://")) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.directory, "/ca.crt was not made by `tributary pki init`: use the tools of the CA that made it"));
  }
  CertificateRequest request{
      .identity = {std::string(federation), Role::kCoordinator, ""}, .hosts = options.hosts, .validity = DaysOf(options.days)};
  std::string stem = "coordinator";
  if (!options.site.empty()) {
    request.identity.role = Role::kSite;
    request.identity.name = options.site;
    stem = "site-" + options.site;
  } else if (!options.operator_name.empty()) {
    request.identity.role = Role::kOperator;
    request.identity.name = options.operator_name;
    stem = "operator-" + options.operator_name;
  }
  stem = absl::StrCat(options.directory, "/", stem);
  for (const char* const suffix : {".key", ".crt"}) {
    // A name that no file can have is for IssueCertificate to refuse.
    std::error_code unknown;
    if (options.force || !std::filesystem::exists(stem + suffix, unknown)) {
      continue;
    }
    return WithExitCode(
        absl::AlreadyExistsError(absl::StrCat(stem, suffix, " already exists; add --force to replace certificate and key together")),
        ExitCode::kUsage);
  }
  TRIBUTARY_RETURN_IF_ERROR(IssueCertificate(options.directory, request));
  return ShowPair(session, stem);
}

}  // namespace

void AddPkiCommands(CLI::App* app, Session* session) {
  CLI::App* pki = app->add_subcommand("pki", "Run a small certificate authority for local use");
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
  issue_options->days = 30;
  issue->add_option("DIR", issue_options->directory, "folder that `pki init` created")->required();
  CLI::Option_group* who = issue->add_option_group("Who", "one of");
  who->add_flag("--coordinator", issue_options->coordinator, "for the coordinator; needs --host");
  who->add_option("--site", issue_options->site, "for the site of this name");
  who->add_option("--operator", issue_options->operator_name, "for the operator of this name");
  who->require_option(1);
  issue->add_flag("--force", issue_options->force, "replace an existing pair");
  issue->add_option("--host", issue_options->hosts, "DNS name (also *.example.org) or IP address of the coordinator; may be repeated");
  issue->add_option("--days", issue_options->days, "days until it expires")->check(CLI::Range(1, 36500))->capture_default_str();
  issue->callback([session, issue_options] { session->action = [session, issue_options] { return Issue(*session, *issue_options); }; });
}

}  // namespace tributary::cli
