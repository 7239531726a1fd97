#include "proto/audit/signed_update.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/signed_text.h"
#include "common/status_macros.h"

namespace tributary {

std::string UpdateText(const UpdateClaim& claim) {
  return absl::StrCat("tributary update v1\n", claim.federation, "\n", claim.site, "\n", claim.run_id, "\n", claim.round, "\n",
                      absl::BytesToHexString(claim.base_state_hash), "\n", absl::BytesToHexString(claim.payload_sha256), "\n",
                      claim.sequence, "\n");
}

absl::Status SignUpdate(const UpdateClaim& claim, const CertificatePair& pair, v1::UpdateSignature& signature) {
  TRIBUTARY_ASSIGN_OR_RETURN(TextSignature made, SignText(UpdateText(claim), pair));
  signature.set_sequence(claim.sequence);
  signature.set_signature(std::move(made.signature));
  return absl::OkStatus();
}

UpdateProof CheckUpdate(UpdateClaim claim, const v1::UpdateSignature& signature, const Certificates& certificates) {
  claim.sequence = signature.sequence();
  UpdateProof proof;
  proof.standing = UpdateProof::Standing::kBad;
  if (certificates != nullptr && !certificates->empty() &&
      VerifySignature(UpdateText(claim), signature.signature(), certificates->front()).ok()) {
    proof.standing = UpdateProof::Standing::kGood;
  }
  proof.payload_sha256 = std::move(claim.payload_sha256);
  proof.sequence = claim.sequence;
  proof.signature = signature.signature();
  proof.certificates = certificates;
  return proof;
}

}  // namespace tributary
