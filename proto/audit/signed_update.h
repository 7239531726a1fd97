// How a site signs its updates, so that anyone who has the site's certificate can tell later, offline, which updates are the site's: not
// even the coordinator can make one in its name (docs/explanation/audit_log.md).
#ifndef TRIBUTARY_PROTO_AUDIT_SIGNED_UPDATE_H_
#define TRIBUTARY_PROTO_AUDIT_SIGNED_UPDATE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/tls.h"
#include "tributary/v1/session.pb.h"

namespace tributary {

// What a signature vouches for. Hashes are raw bytes.
struct UpdateClaim {
  std::string federation;
  std::string site;
  std::string run_id;
  uint64_t round = 0;
  std::string base_state_hash;
  std::string payload_sha256;
  uint64_t sequence = 0;  // UpdateSignature.sequence
};

// What the signature is over, a line each: "tributary update v1", federation, site, run, round, base state hash and SHA-256 of the payload
// in hexadecimal, sequence.
std::string UpdateText(const UpdateClaim& claim);

// Signs with the pair's key, which is the site's. Errors of SignText.
absl::Status SignUpdate(const UpdateClaim& claim, const CertificatePair& pair, v1::UpdateSignature& signature);

// X.509, DER: a site's, and those above it, as its connection showed them and TLS accepted them. Null: it showed none.
using Certificates = std::shared_ptr<const std::vector<std::string>>;

// What came of an update's signature.
struct UpdateProof {
  enum class Standing { kUnsigned, kGood, kBad };
  Standing standing = Standing::kUnsigned;
  std::string payload_sha256 = {};  // that was signed, or was said to be; empty: unsigned
  uint64_t sequence = 0;
  std::string signature = {};
  Certificates certificates = nullptr;  // whose key signed
};

// Whether the key of the first certificate signed the claim, whose sequence is taken from `signature`. On any thread; costs about 0.1 ms.
UpdateProof CheckUpdate(UpdateClaim claim, const v1::UpdateSignature& signature, const Certificates& certificates);

}  // namespace tributary

#endif  // TRIBUTARY_PROTO_AUDIT_SIGNED_UPDATE_H_
