#include "doctor/checks.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/certificate_files.h"
#include "common/files.h"
#include "common/folder_probe.h"
#include "common/format_bytes.h"
#include "common/listening.h"
#include "common/names.h"
#include "common/pki.h"
#include "common/status_macros.h"
#include "common/time_zone.h"

namespace tributary::doctor {
namespace {

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

CertificatePair CheckCertificates(const TlsFiles& files, const Identity& expected, absl::Time now, Findings* findings) {
  absl::StatusOr<CertificatePair> pair = LoadCertificatePair(files, expected);
  if (!pair.ok()) {
    Fail("certificate", pair.status(), findings);
    return {};
  }
  CheckExpiry("certificate", files.certificate, now, findings);
  CheckExpiry("ca", files.ca, now, findings);
  if (const std::string exposure = KeyExposure(files.key); !exposure.empty()) {
    Warn("key", exposure, findings);
  } else {
    Ok("key", "matches the certificate, and not every user can read it", findings);
  }
  return *std::move(pair);
}

void CheckInsecure(const std::string& address, InsecureWhere where, Findings* findings) {
  const absl::Status status = CheckInsecureAddress(address);
  if (!status.ok() && where == InsecureWhere::kThisMachine) {
    return Fail("certificate", status, findings);
  }
  Warn("certificate", "--insecure: nothing is encrypted and nobody is authenticated", findings);
}

void CheckClock(const absl::StatusOr<absl::TimeZone>& zone, absl::Time now, Findings* findings) {
  const std::string utc = absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", now, absl::UTCTimeZone());
  if (!zone.ok()) {
    return Warn("clock", absl::StrCat(utc, "; ", zone.status().message()), findings);
  }
  Ok("clock", absl::StrCat(utc, "; this machine's zone is ", DescribeTimeZone(*zone, now)), findings);
}

void CompareClocks(absl::Time before, absl::Time theirs, absl::Time after, Findings* findings) {
  const absl::Duration offset = theirs - (before + (after - before) / 2);
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

void CheckMemory(const absl::StatusOr<MemoryLimits>& limits, uint64_t needed, Findings* findings) {
  if (!limits.ok()) {
    return;
  }
  const std::string memory = absl::StrCat(FormatBytes(static_cast<double>(limits->available)), " available of ",
                                          FormatBytes(static_cast<double>(limits->total)), " (", limits->bound_by, ")");
  if (limits->available < needed) {
    return Fail("memory", absl::StrCat(memory, "; give it more"), ExitCode::kMemory, findings);
  }
  if (limits->available / 10 < needed) {
    return Warn("memory", absl::StrCat(memory, "; that is enough for small models only"), findings);
  }
  Ok("memory", memory, findings);
}

void CheckListening(const std::string& key, const std::string& address, Findings* findings) {
  if (const absl::Status status = ExplainListenFailure(address); !status.ok()) {
    return Fail(key, status, findings);
  }
  Ok(key, absl::StrCat(address, " is free to listen on"), findings);
}

void CheckData(const std::string& path, Findings* findings) {
  std::error_code error;
  size_t files = 0;
  size_t folders = 0;  // of images, a folder for each class
  for (std::filesystem::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    folders += it->is_directory(ignored) ? 1 : 0;
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
  if (files + folders == 0) {
    return Fail("data", absl::StrCat(path, " holds no files; put this site's data there"), ExitCode::kData, findings);
  }
  Ok("data",
     absl::StrCat(path, ", ", files, files == 1 ? " file" : " files",
                  folders == 0 ? "" : absl::StrCat(", ", folders, folders == 1 ? " folder" : " folders")),
     findings);
}

void CheckConsent(const v1::ConsentConfig& consent, Findings* findings) {
  Ok("consent",
     absl::StrCat("runs ", absl::StrJoin(consent.runs(), ", "), "; models ", absl::StrJoin(consent.models(), ", "), "; at most ",
                  consent.max_local_steps(), " local steps, ", consent.max_rounds(), " rounds, ", consent.max_parameters(),
                  " parameters; batches of ", consent.min_batch_size(), " to ", consent.max_batch_size(), ", of at least ",
                  consent.min_samples(), " samples", consent.allow_unclipped() ? "; unclipped too" : "",
                  consent.allow_small_gradients() ? "; gradients of single samples too" : ""),
     findings);
}

void CheckSent(const v1::WorkerConfig& config, Findings* findings) {
  Ok("sent",
     absl::StrCat("of runs within the consent: model updates, ", config.withhold_losses() ? "" : "training and validation losses, ",
                  "times of training, how many samples (if the run weights by them), and a digest of csv columns' names",
                  config.withhold_losses() ? "; losses stay here (`withhold_losses`)" : "", "; never data, nor names of files and columns"),
     findings);
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

}  // namespace tributary::doctor
