#include "cli/doctor.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/output.h"
#include "common/certificate_files.h"
#include "common/files.h"
#include "common/folder_probe.h"
#include "common/format_bytes.h"
#include "common/pki.h"
#include "common/status_macros.h"
#include "common/time_zone.h"
#include "proto/protocol_version.h"
#include "proto/run_state.h"

namespace tributary::cli {
namespace {

// More than this is not network delay; certificates and records would suffer.
constexpr absl::Duration kClockWarning = absl::Seconds(5);
constexpr absl::Duration kClockFailure = absl::Minutes(5);

void Ok(absl::string_view check, std::string detail, Findings* findings) {
  findings->push_back({std::string(check), Finding::Result::kOk, std::move(detail), ExitCode::kOk});
}

void Warn(absl::string_view check, std::string detail, Findings* findings) {
  findings->push_back({std::string(check), Finding::Result::kWarn, std::move(detail), ExitCode::kOk});
}

void Fail(absl::string_view check, std::string detail, ExitCode code, Findings* findings) {
  findings->push_back({std::string(check), Finding::Result::kFail, std::move(detail), code});
}

void Fail(absl::string_view check, const absl::Status& status, Findings* findings) {
  Fail(check, std::string(status.message()), ExitCodeOf(status), findings);
}

void CheckExpiry(absl::string_view check, const std::string& path, absl::Time now, Findings* findings) {
  const absl::StatusOr<CertificateInfo> info = ReadCertificate(path);
  if (!info.ok()) {
    return Fail(check, info.status(), findings);
  }
  const std::string when = absl::StrFormat("%s, valid until %s (%d days)", info->spiffe_id.empty() ? info->subject : info->spiffe_id,
                                           absl::FormatTime("%Y-%m-%d %H:%M UTC", info->not_after, absl::UTCTimeZone()),
                                           absl::ToInt64Hours(info->not_after - now) / 24);
  if (Validity{info->not_before, info->not_after}.NearsEnd(now)) {
    return Warn(check, absl::StrCat(when, "; renew it now: ", path), findings);
  }
  Ok(check, when, findings);
}

}  // namespace

ExitCode Outcome(const Findings& findings) {
  for (const Finding& finding : findings) {
    if (finding.result == Finding::Result::kFail) {
      return finding.code;
    }
  }
  return ExitCode::kOk;
}

CertificatePair CheckCertificates(const TlsFiles& files, const Identity& expected, absl::Time now, Findings* findings) {
  absl::StatusOr<CertificatePair> pair = LoadCertificatePair(files, expected);
  if (!pair.ok()) {
    Fail("certificate", pair.status(), findings);
    return {};
  }
  CheckExpiry("certificate", files.certificate, now, findings);
  CheckExpiry("ca", files.ca, now, findings);
  struct stat info;
  if (stat(files.key.c_str(), &info) == 0 && (info.st_mode & 077) != 0) {
    Warn("key", absl::StrFormat("%s can be read by others (mode %o); run: chmod 600 %s", files.key, info.st_mode & 0777, files.key),
         findings);
  } else {
    Ok("key", "matches the certificate, and only its owner can read it", findings);
  }
  return *std::move(pair);
}

void CheckFolder(const std::string& name, const std::string& path, uint64_t needed, Findings* findings) {
  std::error_code error;
  // A folder that is not there yet will be made: its nearest parent tells whether it can be.
  std::filesystem::path existing = std::filesystem::absolute(path, error);
  while (!error && !std::filesystem::exists(existing, error) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  if (!std::filesystem::is_directory(existing, error)) {
    return Fail(name, absl::StrCat(existing.string(), " is not a folder; choose another path for ", path), ExitCode::kStorage, findings);
  }
  if (existing == std::filesystem::absolute(path, error)) {
    if (const absl::Status probed = ProbeFolder(existing.string()); !probed.ok()) {
      return Fail(name, probed, findings);
    }
  } else if (access(existing.c_str(), R_OK | W_OK | X_OK) != 0) {
    return Fail(name, absl::StrCat("cannot write in ", existing.string(), "; let the user that runs this program write there"),
                ExitCode::kStorage, findings);
  }
  const absl::StatusOr<uint64_t> free = FreeBytes(existing.string());
  if (!free.ok()) {
    return Fail(name, free.status(), findings);
  }
  const std::string space = absl::StrCat(path, ", ", FormatBytes(static_cast<double>(*free)), " free");
  if (*free < needed) {
    return Fail(name, absl::StrCat(space, "; free some space"), ExitCode::kStorage, findings);
  }
  if (*free / 10 < needed) {
    return Warn(name, absl::StrCat(space, "; that may not last long"), findings);
  }
  Ok(name, space, findings);
}

void CheckData(const std::string& path, Findings* findings) {
  std::error_code error;
  size_t files = 0;
  for (std::filesystem::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored)) {
      continue;
    }
    ++files;
    if (access(it->path().c_str(), R_OK) != 0) {
      return Fail("data", absl::StrCat("cannot read ", it->path().string(), "; let this user read it"), ExitCode::kData, findings);
    }
  }
  if (error) {
    return Fail("data", absl::StrCat("cannot read the folder ", path, ": ", error.message()), ExitCode::kData, findings);
  }
  if (files == 0) {
    return Fail("data", absl::StrCat(path, " holds no files; put this site's data there"), ExitCode::kData, findings);
  }
  Ok("data", absl::StrCat(path, ", ", files, files == 1 ? " file" : " files"), findings);
}

void CheckInsecure(const std::string& address, const ConnectionFlags& flags, Findings* findings) {
  const absl::Status status = CheckInsecureAddress(address);
  if (!status.ok() && !flags.insecure_anywhere) {
    return Fail("certificate", status, findings);
  }
  Warn("certificate", "--insecure: nothing is encrypted and nobody is authenticated", findings);
}

void CheckRun(Client* client, Findings* findings) {
  const absl::StatusOr<v1::ListRunsResponse> runs = client->ListRuns();
  if (!runs.ok()) {
    return Fail("run", runs.status(), findings);
  }
  if (runs->runs().empty()) {
    return Ok("run", "none yet; submit one: tributary run submit FILE", findings);
  }
  const auto is_open = [](const v1::RunStatus& run) { return run.state() != v1::SUBMITTED && !IsOver(run.state()); };
  const auto open = std::find_if(runs->runs().begin(), runs->runs().end(), is_open);
  const v1::RunStatus& run = open != runs->runs().end() ? *open : runs->runs(0);
  Ok("run", absl::StrCat(run.spec().name(), " ", FormatState(run.state()), ": ", FormatMethod(run.spec())), findings);
  if (IsOver(run.state())) {
    return;
  }
  for (const v1::SiteStatus& site : run.sites()) {
    if (absl::StartsWith(site.activity(), "refused")) {
      Warn("run", absl::StrCat("site ", site.site(), " ", site.activity()), findings);
    }
  }
}

void CheckLimits(const v1::WorkerConfig& config, const absl::StatusOr<absl::TimeZone>& zone, absl::Time now, Findings* findings) {
  std::vector<std::string> limits;
  if (const uint64_t up = config.bandwidth().up(); up != 0) {
    limits.push_back(absl::StrCat("up ", FormatBytes(static_cast<double>(up)), " a second"));
  }
  if (const uint64_t down = config.bandwidth().down(); down != 0) {
    limits.push_back(absl::StrCat("down ", FormatBytes(static_cast<double>(down)), " a second"));
  }
  if (!config.quiet_hours().empty()) {
    if (!zone.ok()) {
      return Fail("limits", Annotate(zone.status(), "quiet_hours"), findings);
    }
    limits.push_back(
        absl::StrCat("quiet hours ", absl::StrJoin(config.quiet_hours(), ", "), " by the clock of ", DescribeTimeZone(*zone, now)));
  }
  if (!limits.empty()) {
    Ok("limits", absl::StrJoin(limits, "; "), findings);
  }
}

void CheckPath(const std::string& address, const Route& route, Findings* findings) {
  Ok("path", absl::StrCat("to ", address, " ", route.how), findings);
}

void CheckReachable(Client* client, const std::string& address, Findings* findings) {
  const absl::Status status = client->Probe();
  if (!status.ok()) {
    return Fail("coordinator", status, findings);
  }
  Ok("coordinator", absl::StrCat(address, " answers and knows this caller"), findings);
}

std::optional<v1::ServerInfo> CheckServer(Client* client, const std::string& address, const Clock& clock, Findings* findings) {
  const absl::Time before = clock.WallNow();
  const absl::StatusOr<v1::ServerInfo> info = client->GetServerInfo();
  const absl::Time after = clock.WallNow();
  if (!info.ok()) {
    Fail("coordinator", info.status(), findings);
    return std::nullopt;
  }
  Ok("coordinator",
     absl::StrFormat("%s answers in %d ms; sites connected: %s", address, absl::ToInt64Milliseconds(after - before),
                     info->sites_connected().empty() ? "none" : absl::StrJoin(info->sites_connected(), ", ")),
     findings);

  // The coordinator read its clock somewhere between the two readings of ours.
  const absl::Duration offset = absl::FromUnixMillis(info->unix_ms()) - (before + (after - before) / 2);
  const absl::Duration difference = std::max(absl::AbsDuration(offset) - (after - before) / 2, absl::ZeroDuration());
  const std::string clocks = absl::StrCat("differ by ", absl::FormatDuration(absl::Trunc(difference, absl::Milliseconds(1))));
  if (difference > kClockFailure) {
    Fail("clocks", absl::StrCat(clocks, "; synchronise both machines by NTP: certificates depend on the time"), ExitCode::kCredentials,
         findings);
  } else if (difference > kClockWarning) {
    Warn("clocks", absl::StrCat(clocks, "; synchronise both machines by NTP"), findings);
  } else {
    Ok("clocks", clocks, findings);
  }

  const ProtocolSpeaker here = {absl::StrCat("this program (", TRIBUTARY_VERSION, ")")};
  const ProtocolSpeaker there = {absl::StrCat("the coordinator (", info->software_version(), ")"), info->protocol_version(),
                                 info->newest_protocol_version()};
  const std::string versions = absl::StrCat("coordinator ", info->software_version(), " (protocol ", FormatProtocol(there),
                                            "), this program ", TRIBUTARY_VERSION, " (protocol ", FormatProtocol(here), ")");
  if (const absl::Status status = NegotiateProtocol(here, there).status(); !status.ok()) {
    Fail("versions", std::string(status.message()), ExitCode::kUsage, findings);
  } else if (info->software_version() != TRIBUTARY_VERSION) {
    Warn("versions", absl::StrCat(versions, "; they work together, but the same release on both sides is better tested"), findings);
  } else {
    Ok("versions", versions, findings);
  }

  const std::string space =
      absl::StrCat(FormatBytes(static_cast<double>(info->data_dir_free_bytes())), " free in the coordinator's data folder");
  if (info->data_dir_free_bytes() < (uint64_t{1} << 30)) {
    Warn("coordinator disk", absl::StrCat(space, "; free some before it fills up"), findings);
  } else {
    Ok("coordinator disk", space, findings);
  }
  return *info;
}

}  // namespace tributary::cli
