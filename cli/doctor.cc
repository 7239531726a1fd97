#include "cli/doctor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/output.h"
#include "common/format_bytes.h"
#include "doctor/checks.h"
#include "proto/protocol_version.h"
#include "proto/run_state.h"

namespace tributary::cli {

void CheckRun(Client* client, doctor::Findings* findings) {
  const absl::StatusOr<v1::ListRunsResponse> runs = client->ListRuns();
  if (!runs.ok()) {
    return doctor::Fail("run", runs.status(), findings);
  }
  if (runs->runs().empty()) {
    return doctor::Ok("run", "none yet; submit one: tributary run submit FILE", findings);
  }
  const auto is_open = [](const v1::RunStatus& run) { return run.state() != v1::SUBMITTED && !IsOver(run.state()); };
  const auto open = std::find_if(runs->runs().begin(), runs->runs().end(), is_open);
  const v1::RunStatus& run = open != runs->runs().end() ? *open : runs->runs(0);
  doctor::Ok("run", absl::StrCat(run.spec().name(), " ", FormatState(run.state()), ": ", FormatMethod(run.spec())), findings);
  if (IsOver(run.state())) {
    return;
  }
  for (const v1::SiteStatus& site : run.sites()) {
    if (absl::StartsWith(site.activity(), "refused")) {
      doctor::Warn("run", absl::StrCat("site ", site.site(), " ", site.activity()), findings);
    }
  }
}

std::optional<v1::ServerInfo> CheckServer(Client* client, const std::string& address, const Clock& clock, doctor::Findings* findings) {
  const absl::Time before = clock.WallNow();
  const absl::StatusOr<v1::ServerInfo> info = client->GetServerInfo();
  const absl::Time after = clock.WallNow();
  if (!info.ok()) {
    doctor::Fail("coordinator", info.status(), findings);
    return std::nullopt;
  }
  doctor::Ok("coordinator",
             absl::StrFormat("%s answers in %d ms; sites connected: %s", address, absl::ToInt64Milliseconds(after - before),
                             info->sites_connected().empty() ? "none" : absl::StrJoin(info->sites_connected(), ", ")),
             findings);

  doctor::CompareClocks(before, absl::FromUnixMillis(info->unix_ms()), after, findings);

  const ProtocolSpeaker here = {absl::StrCat("this program (", TRIBUTARY_VERSION, ")")};
  const ProtocolSpeaker there = {absl::StrCat("the coordinator (", info->software_version(), ")"), info->protocol_version(),
                                 info->newest_protocol_version()};
  const std::string versions = absl::StrCat("coordinator ", info->software_version(), " (protocol ", FormatProtocol(there),
                                            "), this program ", TRIBUTARY_VERSION, " (protocol ", FormatProtocol(here), ")");
  if (const absl::Status status = NegotiateProtocol(here, there).status(); !status.ok()) {
    doctor::Fail("versions", std::string(status.message()), ExitCode::kUsage, findings);
  } else if (info->software_version() != TRIBUTARY_VERSION) {
    doctor::Warn("versions", absl::StrCat(versions, "; they work together, but the same release on both sides is better tested"), findings);
  } else {
    doctor::Ok("versions", versions, findings);
  }

  const std::string space =
      absl::StrCat(FormatBytes(static_cast<double>(info->data_dir_free_bytes())), " free in the coordinator's data folder");
  if (info->data_dir_free_bytes() < (uint64_t{1} << 30)) {
    doctor::Warn("coordinator disk", absl::StrCat(space, "; free some before it fills up"), findings);
  } else {
    doctor::Ok("coordinator disk", space, findings);
  }
  return *info;
}

}  // namespace tributary::cli
