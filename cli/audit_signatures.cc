#include "cli/audit_signatures.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checksum.h"
#include "common/exit_codes.h"
#include "common/signed_text.h"
#include "common/status_macros.h"
#include "proto/audit/signed_update.h"

namespace tributary::cli {
namespace {

// From the handshake that accepted a certificate to the record of what was sent with it, which may come when the certificate has ended.
constexpr absl::Duration kUntilRecorded = absl::Minutes(10);

absl::Status Refuted(absl::string_view what) {
  return WithExitCode(absl::UnauthenticatedError(what), ExitCode::kCredentials);
}

const v1::AuditRecord::SignedUpdate* ClaimIn(const v1::AuditRecord& record) {
  if (record.accepted_update().has_claim()) {
    return &record.accepted_update().claim();
  }
  return record.site_event().has_claim() ? &record.site_event().claim() : nullptr;
}

}  // namespace

absl::Status AuditSignatures::Check(const v1::AuditRecord& record) {
  const absl::Time at = absl::FromUnixMillis(record.unix_ms());
  if (record.has_site_certificate()) {
    return Learn(record.site_certificate(), at);
  }
  if (record.has_accepted_update()) {
    const v1::AuditRecord::AcceptedUpdate& update = record.accepted_update();
    if (!update.has_claim()) {
      ++without_;
      return absl::OkStatus();
    }
    TRIBUTARY_RETURN_IF_ERROR(CheckClaim(update.claim(), update.payload_sha256(), update.site(), update.run_id(), update.round(), at));
    ++good_;
  } else if (record.site_event().has_claim()) {
    const v1::AuditRecord::SiteEvent& event = record.site_event();
    TRIBUTARY_RETURN_IF_ERROR(CheckClaim(event.claim(), event.claim().payload_sha256(), event.site(), event.run_id(), event.round(), at));
    ++conflicting_;
  }
  return absl::OkStatus();
}

absl::Status AuditSignatures::Learn(const v1::AuditRecord::SiteCertificate& certificate, absl::Time at) {
  const std::vector<std::string> chain(certificate.certificates().begin(), certificate.certificates().end());
  const Identity site = {federation_, Role::kSite, certificate.site()};
  absl::StatusOr<Validity> validity = CheckSigner(chain, ca_, site, at);
  if (!validity.ok()) {
    validity = CheckSigner(chain, ca_, site, at - kUntilRecorded);
  }
  TRIBUTARY_RETURN_IF_ERROR(validity.status());
  signers_[DigestBytes(Sha256(chain[0]))] = {certificate.site(), chain[0], *validity};
  return absl::OkStatus();
}

absl::Status AuditSignatures::CheckClaim(const v1::AuditRecord::SignedUpdate& claim, absl::string_view payload_sha256,
                                         const std::string& site, const std::string& run_id, uint64_t round, absl::Time at) const {
  const std::string what = absl::StrCat("the update of site ", site, " in round ", round, " of run ", run_id);
  const auto signer = signers_.find(claim.certificate_sha256());
  if (signer == signers_.end() || signer->second.site != site) {
    return Refuted(absl::StrCat(what, ": the certificate of its signature is not in the log before it"));
  }
  if (at < signer->second.validity.begin || at > signer->second.validity.end + kUntilRecorded) {
    return Refuted(absl::StrCat(what, ": the certificate of its signature was not valid then"));
  }
  return Annotate(VerifySignature(UpdateText({.federation = federation_,
                                              .site = site,
                                              .run_id = run_id,
                                              .round = round,
                                              .base_state_hash = claim.base_state_hash(),
                                              .payload_sha256 = std::string(payload_sha256),
                                              .sequence = claim.sequence()}),
                                  claim.signature(), signer->second.certificate),
                  what);
}

std::vector<std::string> CertificatesFor(const std::vector<std::string>& records, uint64_t index) {
  v1::AuditRecord record;
  const v1::AuditRecord::SignedUpdate* const claim = record.ParseFromString(records[index]) ? ClaimIn(record) : nullptr;
  for (uint64_t i = index; claim != nullptr && i-- > 0;) {
    v1::AuditRecord earlier;
    if (!earlier.ParseFromString(records[i]) || earlier.site_certificate().certificates().empty()) {
      continue;
    }
    const auto& certificates = earlier.site_certificate().certificates();
    if (DigestBytes(Sha256(certificates[0])) == claim->certificate_sha256()) {
      return {certificates.begin(), certificates.end()};
    }
  }
  return {};
}

}  // namespace tributary::cli
