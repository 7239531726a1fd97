#include "proto/audit/tree_head.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/merkle_tree.h"
#include "common/signed_text.h"
#include "common/status_macros.h"

namespace tributary {
namespace {

// As deep as a tree of 2^64 records.
constexpr int kMaxProof = 64;

}  // namespace

std::string TreeHeadText(const v1::TreeHead& head, absl::string_view federation) {
  return absl::StrCat("tributary audit log head v1\n", federation, "\n", head.size(), "\n", absl::BytesToHexString(head.root_hash()), "\n",
                      head.unix_ms(), "\n");
}

absl::Status SignTreeHead(const CertificatePair& pair, absl::string_view federation, v1::TreeHead& head) {
  TRIBUTARY_ASSIGN_OR_RETURN(TextSignature signature, SignText(TreeHeadText(head, federation), pair));
  head.set_signature(std::move(signature.signature));
  head.clear_certificates();
  for (std::string& certificate : signature.certificates) {
    head.add_certificates(std::move(certificate));
  }
  return absl::OkStatus();
}

absl::Status VerifyTreeHead(const v1::TreeHead& head, absl::string_view federation, absl::string_view ca) {
  TextSignature signature;
  signature.signature = head.signature();
  signature.certificates.assign(head.certificates().begin(), head.certificates().end());
  return Annotate(VerifyText(TreeHeadText(head, federation), signature, ca, {std::string(federation), Role::kCoordinator, ""},
                             absl::FromUnixMillis(head.unix_ms())),
                  absl::StrCat("the audit log's head of ", head.size(), " records"));
}

absl::StatusOr<std::vector<Digest>> HashesOf(const google::protobuf::RepeatedPtrField<std::string>& hashes) {
  if (hashes.size() > kMaxProof) {
    return absl::InvalidArgumentError(absl::StrCat("a proof of ", hashes.size(), " hashes"));
  }
  std::vector<Digest> digests(static_cast<size_t>(hashes.size()));
  for (int i = 0; i < hashes.size(); ++i) {
    if (!ToDigest(hashes[i], digests[static_cast<size_t>(i)])) {
      return absl::InvalidArgumentError("what stands for a hash is not one");
    }
  }
  return digests;
}

absl::StatusOr<Digest> RootOf(const v1::TreeHead& head) {
  Digest root{};
  return ToDigest(head.root_hash(), root) ? absl::StatusOr<Digest>(root) : absl::InvalidArgumentError("a head without a hash");
}

absl::Status VerifyContinues(const v1::TreeHead& older, const v1::TreeHead& newer,
                             const google::protobuf::RepeatedPtrField<std::string>& proof) {
  TRIBUTARY_ASSIGN_OR_RETURN(const Digest older_root, RootOf(older));
  TRIBUTARY_ASSIGN_OR_RETURN(const Digest newer_root, RootOf(newer));
  TRIBUTARY_ASSIGN_OR_RETURN(const std::vector<Digest> hashes, HashesOf(proof));
  return VerifyConsistency(older.size(), older_root, newer.size(), newer_root, hashes);
}

}  // namespace tributary
