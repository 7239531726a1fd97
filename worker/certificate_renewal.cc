#include "worker/certificate_renewal.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <utility>

#include "common/csr.h"
#include "common/files.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace tributary::worker {
namespace {

constexpr char kComponent[] = "worker";
constexpr absl::Duration kLongestSleep = absl::Hours(1);
constexpr absl::Duration kShortestSleep = absl::Seconds(10);

}  // namespace

absl::Time RenewalTime(const Validity& validity, double jitter) {
  const absl::Duration lifetime = validity.end - validity.begin;
  return validity.end - lifetime / 3 + lifetime / 12 * jitter;
}

absl::Status RenewCertificate(const CertificateFiles& files, const Identity& owner, const RenewCall& call) {
  const std::shared_ptr<const CertificatePair> own = files.current();
  const TlsFiles paths = files.files();
  TRIBUTARY_ASSIGN_OR_RETURN(const std::string csr, MakeCsr(own->key, paths.key, owner));
  TRIBUTARY_ASSIGN_OR_RETURN(const v1::IssuedCertificate issued, call(*own, csr));
  const std::string fresh = paths.certificate + ".new";
  TRIBUTARY_RETURN_IF_ERROR(WriteFileAtomically(fresh, issued.certificate(), 0644));
  TRIBUTARY_RETURN_IF_ERROR(LoadCertificatePair({paths.ca, fresh, paths.key}, owner).status());
  if (std::rename(fresh.c_str(), paths.certificate.c_str()) != 0) {
    return StorageError("rename", fresh, errno);
  }
  return SyncPath(paths.certificate);
}

CertificateRenewal::CertificateRenewal(Options options) : options_(std::move(options)), thread_("renewal") {
  thread_.Post([this] { Look(); });
}

void CertificateRenewal::Look() {
  const Validity validity = options_.files->current()->validity;
  const absl::Time due = RenewalTime(validity, options_.jitter);
  absl::Duration sleep = due - options_.clock->WallNow();
  if (sleep <= absl::ZeroDuration()) {
    const absl::Status renewed = RenewCertificate(*options_.files, options_.owner, options_.call);
    // Until the new one is in use the old one is what there is to look at.
    sleep = (validity.end - validity.begin) / 100;
    const bool is_other_peoples = absl::IsFailedPrecondition(renewed) || absl::IsUnimplemented(renewed);
    if (renewed.ok()) {
      LogInfo(kComponent, "the coordinator has renewed this site's certificate");
    } else if (const auto left_out = problems_.Tell(renewed.message(), options_.clock->Now()); left_out.has_value() && !is_other_peoples) {
      LogWarning(kComponent, "the certificate could not be renewed, and is asked for again: ", renewed.message(), *left_out);
    }
  }
  thread_.PostAfter(std::clamp(sleep, kShortestSleep, kLongestSleep), [this] { Look(); });
}

}  // namespace tributary::worker
