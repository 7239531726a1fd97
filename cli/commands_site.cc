// `tributary site`: who takes part, changed while the coordinator serves.
#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/table.h"
#include "common/status_macros.h"

namespace tributary::cli {
namespace {

using Act = v1::ChangeSiteRequest;

struct SiteOptions {
  std::string name;
  std::string reason;
  std::string valid = "24h";
};

std::string StandingOf(const v1::Site& site) {
  return absl::AsciiStrToLower(v1::SiteRecord::Standing_Name(site.standing()));
}

std::string TimeOf(int64_t unix_ms) {
  return unix_ms == 0 ? "-" : absl::FormatTime("%Y-%m-%d %H:%M UTC", absl::FromUnixMillis(unix_ms), absl::UTCTimeZone());
}

// What somebody has yet to do, or why it is as it is.
std::string NoteOf(const v1::Site& site) {
  std::vector<std::string> notes;
  if (!site.key_to_approve().empty()) {
    notes.push_back(absl::StrCat("key ", site.key_to_approve(), " awaits approval"));
  }
  if (site.token_expires_unix_ms() != 0) {
    notes.push_back(absl::StrCat("token until ", TimeOf(site.token_expires_unix_ms())));
  }
  if (!site.actor().empty()) {
    notes.push_back(absl::StrCat("by ", site.actor(), site.reason().empty() ? "" : ": ", site.reason()));
  }
  std::string note;
  for (const std::string& one : notes) {
    absl::StrAppend(&note, note.empty() ? "" : "; ", one);
  }
  return note;
}

absl::Status List(const Session& session) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::ListSitesResponse sites, client.ListSites());
  if (session.json()) {
    *session.environment.out << ToJson(sites) << "\n";
    return absl::OkStatus();
  }
  std::vector<std::vector<std::string>> rows = {{"SITE", "STANDING", "CONNECTED", "SINCE", "CERTIFICATE UNTIL", "NOTE"}};
  for (const v1::Site& site : sites.sites()) {
    rows.push_back({site.name(), StandingOf(site), site.connected() ? "yes" : "no", TimeOf(site.changed_unix_ms()),
                    TimeOf(site.certificate_expires_unix_ms()), NoteOf(site)});
  }
  *session.environment.out << FormatTable(rows, {session.environment.columns, {"SINCE", "CERTIFICATE UNTIL"}});
  return absl::OkStatus();
}

absl::Status Change(const Session& session, Act::Act act, const SiteOptions& options) {
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  v1::ChangeSiteRequest request;
  request.set_name(options.name);
  request.set_act(act);
  request.set_reason(options.reason);
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::Site site, client.ChangeSite(request));
  if (session.json()) {
    *session.environment.out << ToJson(site) << "\n";
    return absl::OkStatus();
  }
  std::ostream& out = *session.environment.out;
  out << "site " << site.name() << " is " << StandingOf(site) << "\n";
  if (site.standing() == v1::SiteRecord::PENDING) {
    out << "another operator approves it: tributary site approve " << site.name() << "\n";
  }
  return absl::OkStatus();
}

absl::Status Token(const Session& session, const SiteOptions& options) {
  absl::Duration valid;
  if (!absl::ParseDuration(options.valid, &valid) || valid < absl::Seconds(1)) {
    return absl::InvalidArgumentError(absl::StrCat("--valid ", options.valid, " is not a duration such as 24h or 30m"));
  }
  TRIBUTARY_ASSIGN_OR_RETURN(Client client, Connect(session));
  v1::IssueSiteTokenRequest request;
  request.set_name(options.name);
  request.set_valid_seconds(absl::ToInt64Seconds(valid));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::SiteToken token, client.IssueSiteToken(request));
  if (session.json()) {
    *session.environment.out << ToJson(token) << "\n";
    return absl::OkStatus();
  }
  *session.environment.out << token.token() << "\n";
  *session.environment.err << "good once, for site " << options.name << ", until " << TimeOf(token.expires_unix_ms())
                           << ". Whoever has it can enrol as that site: hand it over in confidence. There, beside worker.yaml:\n"
                           << "  tributary-worker enroll --config worker.yaml --coordinator HOST:PORT --token ...\n"
                           << "HOST:PORT is the coordinator's `enrol_listen`, as the site reaches it\n";
  return absl::OkStatus();
}

}  // namespace

void AddSiteCommands(CLI::App* app, Session* session) {
  CLI::App* const site = app->add_subcommand("site", "Let sites in and throw them out, at once and without a restart");
  site->require_subcommand(1);
  site->add_subcommand("list", "Show the sites of the federation, and where each stands")->callback([session] {
    session->action = [session] { return List(*session); };
  });

  const auto add_act = [&](const char* name, const char* help, Act::Act act) {
    CLI::App* const command = site->add_subcommand(name, help);
    const auto options = std::make_shared<SiteOptions>();
    command->add_option("SITE", options->name, "name of the site")->required();
    command->add_option("--reason", options->reason, "why; kept, and shown to operators");
    command->callback([session, act, options] { session->action = [session, act, options] { return Change(*session, act, *options); }; });
  };
  add_act("add", "Let a site in; also one that was revoked, with new certificates", Act::ADD);
  add_act("approve", "As another operator: let in a site that is pending, or the key that it showed with its token", Act::APPROVE);
  add_act("suspend", "Throw a site out until it is resumed; its certificate stays good", Act::SUSPEND);
  add_act("resume", "Let a suspended site in again", Act::RESUME);
  add_act("revoke", "Throw a site out, and accept no certificate any more that it has now", Act::REVOKE);

  CLI::App* const token = site->add_subcommand("token", "Make a token, good once, with which a site gets its first certificate");
  const auto options = std::make_shared<SiteOptions>();
  token->add_option("SITE", options->name, "name of the site")->required();
  token->add_option("--valid", options->valid, "for how long (30m, 24h); at most 720h")->capture_default_str();
  token->callback([session, options] { session->action = [session, options] { return Token(*session, *options); }; });
}

}  // namespace tributary::cli
